// Adds to the pages what a server can't: switching proofs, zoom, keys, and writes without a reload.
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

// ------------------------------------------------------------------------------------ the review room

const room = document.querySelector(".room");
if (room) {
  const buttons = [...room.querySelectorAll("[data-show]")];
  let shown = 0;

  const show = (index) => {
    shown = (index + buttons.length) % buttons.length;
    buttons.forEach((button, at) => {
      const proof = document.getElementById(button.dataset.show);
      proof.hidden = at !== shown;
      for (const playing of proof.querySelectorAll("video, audio")) playing.pause();
      if (at === shown) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    });
    buttons[shown].scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  buttons.forEach((button, index) => button.addEventListener("click", () => show(index)));

  const zoom = (viewer, how) => {
    const image = viewer.querySelector("img");
    if (!image) return;
    const scale = how === "fit" ? 1 : Math.min(8, Math.max(1, Number(viewer.dataset.scale || 1) * (how === "in" ? 1.5 : 1 / 1.5)));
    viewer.dataset.scale = scale;
    viewer.classList.toggle("zoomed", scale > 1.01);
    image.width = scale > 1.01 ? Math.round(viewer.clientWidth * scale) : image.naturalWidth;
    if (scale <= 1.01) image.removeAttribute("width");
  };
  for (const proof of room.querySelectorAll(".proof")) {
    const viewer = proof.querySelector(".viewer");
    for (const button of proof.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => zoom(viewer, button.dataset.zoom));
    }
    viewer.addEventListener("keydown", (event) => {
      if (event.key === "+" || event.key === "=") zoom(viewer, "in");
      if (event.key === "-") zoom(viewer, "out");
      if (event.key === "0") zoom(viewer, "fit");
    });
    viewer.addEventListener("dblclick", () => zoom(viewer, viewer.classList.contains("zoomed") ? "fit" : "in"));
    viewer.addEventListener("pointerdown", (down) => {
      if (!viewer.classList.contains("zoomed")) return;
      down.preventDefault();
      const from = { x: down.clientX, y: down.clientY, left: viewer.scrollLeft, top: viewer.scrollTop };
      const drag = (move) => {
        viewer.scrollLeft = from.left - (move.clientX - from.x);
        viewer.scrollTop = from.top - (move.clientY - from.y);
      };
      addEventListener("pointermove", drag);
      addEventListener("pointerup", () => removeEventListener("pointermove", drag), { once: true });
    });
  }

  const singles = () => {
    const versions = {};
    for (const field of room.querySelectorAll(".single")) {
      const verdict = field.querySelector("input[type=radio]:checked").value;
      const comment = field.querySelector("input[name=comment]").value.trim();
      if (verdict) versions[field.dataset.version] = { verdict, comment };
    }
    return versions;
  };
  const differs = document.getElementById("differs");
  room.addEventListener("change", (event) => {
    const field = event.target.closest(".single");
    if (!field) return;
    const chosen = field.querySelector("input[type=radio]:checked").value;
    room.querySelector(`[data-mark="${field.dataset.version}"]`).textContent = chosen.replace("_", " ");
    const count = Object.keys(singles()).length;
    differs.textContent = count
      ? `It counts for ${buttons.length - count} versions; ${count} have a verdict of their own.`
      : `It counts for all ${buttons.length} versions.`;
  });

  const form = document.getElementById("decision");
  if (form) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const verdict = event.submitter.value;
      const comment = form.elements.comment.value.trim();
      if (verdict !== "approve" && !comment && !Object.values(singles()).some((one) => one.comment)) {
        say("Say what should change, or why it is rejected.");
        form.elements.comment.focus();
        return;
      }
      busy(form, true);
      try {
        await send("POST", `/api/seats/${form.dataset.seat}/decision`, { verdict, comment, versions: singles() });
        say("Signed. It is in the record under your name.");
        goSoon("/approvals");
      } catch (error) {
        say(error.message);
        if (error.told && error.told.next_package_id) goSoon(`/packages/${error.told.next_package_id}`);
        else busy(form, false);
      }
    });
  }

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|TEXTAREA|SELECT/.test(event.target.tagName)) return;
    if (event.key === "j") show(shown + 1);
    if (event.key === "k") show(shown - 1);
    const verdict = { a: "approve", c: "request_changes", r: "reject" }[event.key];
    const button = verdict && form && form.querySelector(`[value=${verdict}]`);
    if (button) button.focus();
  });

  for (const note of room.querySelectorAll("form.note")) {
    note.addEventListener("submit", async (event) => {
      event.preventDefault();
      const body = note.elements.body.value.trim();
      const kind = note.elements.must_fix.checked ? "must_fix" : "suggestion";
      try {
        await send("POST", `/api/packages/${room.dataset.package}/annotations`, { version_id: note.dataset.version, body, kind });
        const item = document.createElement("li");
        const who = document.createElement("strong");
        who.textContent = "You";
        item.append(who, ` ${kind === "must_fix" ? "(must fix) " : ""}${body}`);
        room.querySelector(`[data-notes="${note.dataset.version}"]`).append(item);
        note.reset();
      } catch (error) {
        say(error.message);
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
