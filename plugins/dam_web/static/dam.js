// Adds to the pages what a server can't: writes without a reload. The review room has a script of its own (web/).
"use strict";

const root = document.body.dataset.root;
const live = document.getElementById("live");

function say(text) {
  live.textContent = text;
  live.classList.add("shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => live.classList.remove("shown"), 8000);
}

async function send(method, path, body) {
  const headers = { "X-Requested-With": "dam", Accept: "application/json" };
  const plain = body !== undefined && !(body instanceof Blob);
  if (plain) headers["Content-Type"] = "application/json";
  const reply = await fetch(root + path, { method, headers, body: plain ? JSON.stringify(body) : body });
  const told = await reply.json().catch(() => ({}));
  if (!reply.ok) {
    const detail = typeof told.detail === "string" ? told.detail : "";
    const error = new Error([told.what, told.remedy].filter(Boolean).join(". ") || detail || `Error ${reply.status}`);
    error.told = told;
    throw error;
  }
  return told;
}

function busy(form, on) {
  for (const button of form.querySelectorAll("button")) button.disabled = on;
}

function goSoon(path) {
  setTimeout(() => location.assign(root + path), 900);
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

function asksAgain(button, path, opened) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const told = await send("POST", path, {});
      say("Asked again. The next round opens.");
      goSoon(`/packages/${opened(told)}`);
    } catch (error) {
      say(error.message);
      button.disabled = false;
    }
  });
}
for (const button of document.querySelectorAll("[data-reopen]")) {
  asksAgain(button, `/api/packages/${button.dataset.reopen}/reopen`, (told) => told.next_package_id);
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
for (const button of document.querySelectorAll("[data-review-again]")) {
  asksAgain(button, `/api/versions/${button.dataset.reviewAgain}/review`, (told) => told.package_id);
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
