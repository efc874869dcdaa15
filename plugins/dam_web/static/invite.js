// Inviting and revoking external reviewers; `send`, `say` and `busy` are of common.js.
"use strict";

const invitation = document.getElementById("invitation");

async function then(form, what, done) {
  busy(form, true);
  try {
    await what();
    say(done);
    setTimeout(() => location.reload(), 900);
  } catch (error) {
    say(error.message);
    busy(form, false);
  }
}

invitation.addEventListener("submit", (event) => {
  event.preventDefault();
  const given = new FormData(invitation);
  const body = {
    email: given.get("email"),
    name: given.get("name"),
    // a minute less than whole days, so that the longest is within the limit whatever clock we have
    expires_at: new Date(Date.now() + given.get("days") * 86400000 - 60000).toISOString(),
    may_comment: given.has("may_comment"),
    seat_id: given.get("seat_id") || null,
  };
  then(invitation, () => send("POST", `/api/packages/${invitation.dataset.package}/guests`, body), "The link was sent.");
});

for (const button of document.querySelectorAll("[data-revoke]")) {
  button.addEventListener("click", () => {
    then(button.parentElement, () => send("POST", `/api/guests/${button.dataset.revoke}/revoke`, {}), "The link was revoked.");
  });
}
