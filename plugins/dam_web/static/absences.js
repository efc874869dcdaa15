// Entering and ending absences; `send`, `say` and `busy` are of common.js, `onClick` of dam.js.
"use strict";

// Whoever reads the page thinks in the time of their own clock, and the form is filled in it.
const clock = Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "short" });
for (const time of document.querySelectorAll("time")) time.textContent = clock.format(new Date(time.dateTime));

const absence = document.getElementById("absence");
if (absence) {
  const problem = document.getElementById("problem");
  const zone = document.getElementById("zone");
  zone.textContent = `Times are on this device's clock: ${clock.resolvedOptions().timeZone}.`;
  zone.hidden = false;

  const wrong = (what, field) => {
    problem.textContent = what;
    problem.hidden = false;
    if (!field) return;
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-errormessage", "problem");
    field.focus();
  };
  absence.addEventListener("input", (event) => {
    problem.hidden = true;
    event.target.removeAttribute("aria-invalid");
    event.target.removeAttribute("aria-errormessage");
  });
  absence.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { from, until, deputy, reason, person } = absence.elements;
    if (until.value <= from.value) return wrong("They must be back after they leave.", until);
    const body = {
      from: new Date(from.value).toISOString(),
      until: new Date(until.value).toISOString(),
      deputy: deputy.value || null,
      reason: reason.value,
      person: person ? person.value : null,
    };
    busy(absence, true);
    try {
      await send("POST", "/api/absences", body);
      say("It is entered.");
      setTimeout(() => location.reload(), 900);
    } catch (error) {
      wrong(error.message[0].toUpperCase() + error.message.slice(1));
      busy(absence, false);
    }
  });
}

onClick("[data-end]", async (button) => {
  await send("POST", `/api/absences/${button.dataset.end}/end`, {});
  button.closest("[data-absence]").remove();
  say("It is called off.");
  document.getElementById("main").focus();
});
