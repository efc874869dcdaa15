// Adds to the pages what a server can't: writes without a reload; `root`, `send`, `say` and `busy` are of common.js.
// The review room has a script of its own (web/).
"use strict";

function goSoon(path) {
  setTimeout(() => location.assign(root + path), 900);
}

function onClick(selector, act) {
  for (const button of document.querySelectorAll(selector)) {
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        await act(button);
      } catch (error) {
        say(error.message);
        button.disabled = false;
      }
    });
  }
}

// -------------------------------------------------------------------------------- Airflow's questions

for (const form of document.querySelectorAll("form.answer")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { params, ...question } = JSON.parse(form.dataset.question);
    const values = Object.fromEntries(params.map((name) => [name, form.elements[name] ? form.elements[name].value : ""]));
    busy(form, true);
    try {
      await send("POST", "/api/questions", { ...question, option: event.submitter.value, values });
      say("Answered under your name.");
      form.closest("article").remove();
    } catch (error) {
      say(error.message);
      busy(form, false);
    }
  });
}

// ----------------------------------------------------------------------------------------- re-tagging

const retag = document.getElementById("retag");
if (retag) {
  const path = `/api/retags/${retag.dataset.run}`;
  for (const row of document.querySelectorAll("[data-retag-version]")) {
    for (const button of row.querySelectorAll("[data-judge]")) {
      button.addEventListener("click", async () => {
        busy(row, true);
        try {
          const verdict = button.dataset.judge;
          const told = await send("POST", `${path}/versions/${row.dataset.retagVersion}`, { verdict });
          row.querySelector("[data-verdict]").textContent = verdict;
          document.getElementById("judged").textContent =
            `${told.accepted} of ${told.judged} accepted: at least ${Math.round(told.at_least * 100)} % of all changes are right.`;
          say(verdict === "accepted" ? "Accepted." : "Refused: it is left out.");
        } catch (error) {
          say(error.message);
        }
        busy(row, false);
      });
    }
  }
  retag.addEventListener("submit", async (event) => {
    event.preventDefault();
    busy(retag, true);
    try {
      const told = await send("POST", `${path}/${retag.dataset.does}`, { approved_too: retag.elements.approved_too.checked });
      say(told.status === "applied" ? "Applied." : "Rolled back.");
      goSoon(`/retags/${retag.dataset.run}`);
    } catch (error) {
      say(error.message);
      busy(retag, false);
    }
  });
}

// ----------------------------------------------------------------------------------------- duplicates

// Sends what may void approvals; when it would, the person is asked, and it is sent again.
async function sendKnowing(path, body) {
  try {
    return await send("POST", path, body);
  } catch (error) {
    if (!error.told || !error.told.voids || !confirm(`${error.message} Go on?`)) throw error;
    return send("POST", path, { ...body, void_approvals: true });
  }
}

onClick("[data-keep]", async (button) => {
  say("Comparing every pixel …");
  const { keep, drop, name } = button.dataset;
  const told = await sendKnowing("/api/merges", { keep, drop });
  const differed = told.conflicts.length ? ` ${told.conflicts.length} fields differed and stayed as they were.` : "";
  say(`${name} was merged into ${told.kept.asset}. It can be undone.${differed}`);
  setTimeout(() => location.reload(), 2500);
});
onClick("[data-undo]", async (button) => {
  const told = await sendKnowing(`/api/merges/${button.dataset.undo}/undo`, {});
  const left = told.left.length ? ` Left as they are: ${told.left.join(", ")}.` : "";
  say(`Undone: ${told.dropped.asset} stands by itself again.${left}`);
  setTimeout(() => location.reload(), 2500);
});
onClick("[data-answer]", async (button) => {
  const { one, other } = button.closest(".pair").dataset;
  await send("POST", `/api/duplicates/${one}/${other}/answer`, { answer: button.dataset.answer || null });
  button.closest(".pair").remove();
  say("Remembered.");
});

// ------------------------------------------------------------------------------------- review once more

onClick("[data-review-again]", async (button) => {
  const told = await send("POST", `/api/versions/${button.dataset.reviewAgain}/review`, {});
  say("Asked again. The next round opens.");
  goSoon(`/packages/${told.package_id}`);
});
