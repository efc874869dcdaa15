// The guests' pages: the door, the proofs with notes on them, the verdict. Texts only ever go in by textContent.
// `root`, `send`, `say` and `busy` are of common.js; `root` is the guest's own link.
"use strict";

const post = (path, body = {}) => send("POST", path, body);

async function during(form, what) {
  const problem = form.querySelector(":scope > [role=alert]") || document.getElementById("problem");
  busy(form, true);
  if (problem) problem.hidden = true;
  try {
    await what();
  } catch (error) {
    const told = error.message[0].toUpperCase() + error.message.slice(1);
    if (problem) {
      problem.textContent = told;
      problem.hidden = false;
    } else say(told);
  }
  busy(form, false);
}

// ------------------------------------------------------------------------------------------------ the door

const door = document.getElementById("enter");
if (door) {
  const ask = document.getElementById("ask");
  const mail = (form) => during(form, async () => {
    await post("/code");
    document.getElementById("problem").hidden = true;
    ask.hidden = true;
    door.hidden = false;
    door.elements.code.value = "";
    door.elements.code.focus();
  });
  document.getElementById("send").addEventListener("click", () => mail(ask));
  document.getElementById("again").addEventListener("click", () => mail(door));
  door.addEventListener("submit", (event) => {
    event.preventDefault();
    during(door, async () => {
      await post("/enter", { code: door.elements.code.value });
      location.reload();
    });
  });
}

// ------------------------------------------------------------------------------------------------ the room

const data = document.getElementById("room");
if (data) {
  const room = JSON.parse(data.textContent);
  const hashes = Object.fromEntries(room.versions.map((version) => [version.version_id, version.sha256]));
  const buttons = [...document.querySelectorAll("[data-show]")];
  const list = document.getElementById("notes");
  const form = document.getElementById("note");
  const wanted = location.hash.slice(1); // a mail leads to one proof
  let shown = hashes[wanted] ? wanted : buttons[0] ? buttons[0].dataset.show : "";
  const drafts = new Map(); // note -> what is written in reply to it and not sent yet
  let target = null; // of the note that is being written
  const moments = {}; // second that is shown of each film; none while its poster is

  // where a note is, in percent, on which page, at which second: {x, y, w, h, page, t}; null for the whole version
  const spot = (selector) => {
    if (!selector) return null;
    const time = /^t=([\d.]+)/.exec(selector.value || "");
    if (time) return { ...(spot(selector.refinedBy) || { x: null }), t: +time[1] };
    const page = /^page=(\d+)$/.exec(selector.value || "");
    if (page) return { ...(spot(selector.refinedBy) || { x: null }), page: page[1] };
    const box = /^xywh=percent:([\d.]+),([\d.]+),([\d.]+),([\d.]+)$/.exec(selector.value || "");
    return box ? { x: +box[1], y: +box[2], w: +box[3], h: +box[4] } : spot(selector.refinedBy);
  };

  const draw = (version, at, label, fresh) => {
    if (!at || at.x === null) return;
    for (const sheet of document.querySelectorAll(`.sheet[data-version="${version}"]`)) {
      if (sheet.dataset.page && at.page && sheet.dataset.page !== at.page) continue;
      if (at.t !== undefined && moments[version] !== at.t) continue;
      const mark = document.createElement("div");
      mark.className = `spot${at.w || at.h ? "" : " point"}${fresh ? " new" : ""}`;
      Object.assign(mark.style, { left: `${at.x}%`, top: `${at.y}%` });
      if (at.w || at.h) Object.assign(mark.style, { width: `${at.w}%`, height: `${at.h}%` });
      const name = document.createElement("b");
      name.textContent = label;
      mark.append(name);
      sheet.querySelector(".marks").append(mark);
      return;
    }
  };

  const line = (note) => {
    const row = document.createElement("li");
    const who = document.createElement("strong");
    who.textContent = note.mine ? "You" : note.author_name;
    row.append(who, " ");
    if (note.kind !== "note") {
      const kind = document.createElement("span");
      kind.className = "badge";
      kind.textContent = note.kind === "must_fix" ? "must be fixed" : note.kind;
      row.append(kind, " ");
    }
    row.append(note.body);
    const at = spot(note.target && note.target.selector);
    if (at && at.t !== undefined) {
      const when = document.createElement("button");
      when.type = "button";
      when.className = "when";
      when.textContent = `at ${at.t.toFixed(2)} s`;
      when.addEventListener("click", () => goTo(note.version_id, at.t));
      row.append(" ", when);
    }
    if (note.status === "resolved") row.append(` (resolved${note.resolution ? `: ${note.resolution}` : ""})`);
    if (note.may.includes("withdraw")) {
      const back = document.createElement("button");
      back.type = "button";
      back.className = "button small";
      back.textContent = "Take back";
      back.setAttribute("aria-label", `Take back: ${start(note)}`);
      back.addEventListener("click", () => during(row, async () => {
        await post(`/notes/${note.annotation_id}/withdraw`);
        room.notes = room.notes.filter((other) => other.annotation_id !== note.annotation_id);
        await refresh();
        say("It is taken back.");
        list.focus();
      }));
      row.append(" ", back);
    }
    if (room.may_comment && !note.reply_to && note.may.includes("reply")) row.append(" ", ...replying(note));
    return row;
  };

  // the first words of a note, to tell buttons apart that say the same
  const start = (note) => (note.body.length > 40 ? `${note.body.slice(0, 40)}…` : note.body);

  // the notes as they are by now: others' as well, and what may be done with each
  const refresh = async () => {
    room.notes = await send("GET", "/notes").catch(() => room.notes);
    show(shown);
  };

  // a button, and the form that it opens below the note
  const replying = (note) => {
    const [open, box] = [document.createElement("button"), document.createElement("form")];
    const [label, text, problem, actions] = ["label", "textarea", "p", "div"].map((name) => document.createElement(name));
    const [sends, cancels] = ["button", "button"].map((name) => document.createElement(name));
    const drafted = drafts.get(note.annotation_id);
    const toggle = (on) => {
      box.hidden = !on;
      open.setAttribute("aria-expanded", String(on));
      if (on) text.focus();
      else {
        drafts.delete(note.annotation_id);
        text.value = "";
        open.focus();
      }
    };
    Object.assign(open, { type: "button", className: "button small", textContent: "Reply", id: `reply-${note.annotation_id}` });
    open.setAttribute("aria-label", `Reply to: ${start(note)}`);
    open.setAttribute("aria-expanded", String(drafted !== undefined));
    open.setAttribute("aria-controls", `box-${note.annotation_id}`);
    open.addEventListener("click", () => toggle(box.hidden));
    Object.assign(box, { className: "replying", id: `box-${note.annotation_id}`, hidden: drafted === undefined });
    Object.assign(text, { name: "body", rows: 2, required: true, maxLength: 8000, value: drafted || "" });
    text.addEventListener("input", () => drafts.set(note.annotation_id, text.value));
    label.append(`Your reply to ${note.mine ? "yourself" : note.author_name} `, text);
    Object.assign(problem, { className: "wrong", hidden: true });
    problem.setAttribute("role", "alert");
    Object.assign(sends, { className: "button small primary", textContent: "Send the reply" });
    Object.assign(cancels, { type: "button", className: "button small", textContent: "Cancel" });
    cancels.addEventListener("click", () => toggle(false));
    actions.className = "actions";
    actions.append(sends, cancels);
    box.append(label, problem, actions);
    box.addEventListener("keydown", (event) => event.key === "Escape" && toggle(false));
    box.addEventListener("submit", (event) => {
      event.preventDefault();
      during(box, async () => {
        room.notes.push(await post("/notes", { version_id: note.version_id, body: text.value, reply_to: note.annotation_id }));
        drafts.delete(note.annotation_id);
        await refresh();
        say("Your reply was added.");
        document.getElementById(`reply-${note.annotation_id}`)?.focus();
      });
    });
    return [open, box];
  };

  const show = (version) => {
    shown = version;
    for (const button of buttons) {
      document.getElementById(button.dataset.show).hidden = button.dataset.show !== version;
      if (button.dataset.show === version) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    for (const marks of document.querySelectorAll(".marks")) marks.replaceChildren();
    list.replaceChildren();
    const mine = room.notes.filter((note) => note.version_id === version);
    mine.filter((note) => !note.reply_to).forEach((note, index) => {
      list.append(line(note));
      draw(version, spot(note.target && note.target.selector), String(index + 1), false);
      for (const reply of mine.filter((other) => other.reply_to === note.annotation_id)) {
        const row = line(reply);
        row.className = "reply";
        list.append(row);
      }
    });
    document.getElementById("nonotes").hidden = mine.length > 0;
    if (target) draw(version, spot(target.selector), "+", true);
  };

  const place = (made) => {
    target = made;
    if (!form) return;
    document.getElementById("noplace").hidden = !made;
    document.getElementById("place").textContent = made
      ? spot(made.selector).x === null ? `It is for ${spot(made.selector).t.toFixed(2)} s. Click into the picture for a point, or draw a box.` : "It is for the place that is marked with +."
      : "It is for the whole version. Click into the picture for a point, or draw a box.";
    show(shown);
  };

  buttons.forEach((button) => button.addEventListener("click", () => {
    target = null;
    show(button.dataset.show);
    place(null);
  }));

  const fraction = (sheet, event) => {
    const box = sheet.getBoundingClientRect();
    const within = (value) => Math.round(Math.min(1, Math.max(0, value)) * 100000) / 1000;
    return { x: within((event.clientX - box.left) / box.width), y: within((event.clientY - box.top) / box.height) };
  };

  const targetOf = (sheet, from, to) => {
    const small = Math.abs(to.x - from.x) < 1 && Math.abs(to.y - from.y) < 1;
    const round = (value) => Math.round(value * 1000) / 1000;
    const box = small
      ? [from.x, from.y, 0, 0]
      : [Math.min(from.x, to.x), Math.min(from.y, to.y), Math.abs(to.x - from.x), Math.abs(to.y - from.y)].map(round);
    const shape = { type: "FragmentSelector", conformsTo: "http://www.w3.org/TR/media-frags/", value: `xywh=percent:${box.join(",")}` };
    const selector = sheet.dataset.page
      ? { type: "FragmentSelector", conformsTo: "http://tools.ietf.org/rfc/rfc3778", value: `page=${sheet.dataset.page}`, refinedBy: shape }
      : shape;
    return onVersion(sheet.dataset.version, selector);
  };

  // a target on a version; of a film, at the moment that is shown
  const onVersion = (version, shape) => {
    const moment = moments[version];
    const time = { type: "FragmentSelector", conformsTo: "http://www.w3.org/TR/media-frags/", value: `t=${moment}` };
    if (moment !== undefined && shape) time.refinedBy = shape;
    return { source: `urn:sha256:${hashes[version]}`, selector: moment === undefined ? shape : time };
  };

  const goTo = (version, second) => {
    moments[version] = second;
    const slider = document.querySelector(`[data-moment="${version}"]`);
    slider.value = second;
    slider.parentElement.querySelector("output").textContent = `${second.toFixed(2)} s`;
    document.querySelector(`.sheet[data-version="${version}"] img`).src = `${root}/proofs/${version}/at/${Math.round(second * 1000)}`;
    place(form ? onVersion(version, null) : null);
    show(version);
  };
  for (const slider of document.querySelectorAll("[data-moment]")) {
    let soon = 0;
    slider.addEventListener("input", () => {
      slider.parentElement.querySelector("output").textContent = `${Number(slider.value).toFixed(2)} s`;
      clearTimeout(soon); // one frame for the place where it is let go, not for all on the way
      soon = setTimeout(() => goTo(slider.dataset.moment, Math.round(slider.value * 100) / 100), 150);
    });
  }

  if (form) {
    for (const sheet of document.querySelectorAll(".sheet")) {
      let from = null;
      sheet.classList.add("draws");
      sheet.addEventListener("pointerdown", (event) => {
        if (event.button !== 0) return;
        from = fraction(sheet, event);
        sheet.setPointerCapture(event.pointerId);
      });
      sheet.addEventListener("pointermove", (event) => from && place(targetOf(sheet, from, fraction(sheet, event))));
      sheet.addEventListener("pointerup", (event) => {
        if (from) place(targetOf(sheet, from, fraction(sheet, event)));
        from = null;
      });
      sheet.addEventListener("pointercancel", () => { from = null; });
    }
    document.getElementById("noplace").addEventListener("click", () => place(null));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const given = new FormData(form);
      during(form, async () => {
        room.notes.push(await post("/notes", { version_id: shown, body: given.get("body"), kind: given.get("kind"), target }));
        form.reset();
        place(moments[shown] === undefined ? null : onVersion(shown, null));
        say("Your note was added.");
      });
    });
  }

  const verdict = document.getElementById("verdict");
  if (verdict) {
    const { comment, conditional, conditions } = verdict.elements;
    const problem = document.getElementById("verdict-problem");
    const approve = verdict.querySelector("[value=approve]");
    if (conditional) {
      const toggle = () => {
        document.getElementById("condition").hidden = !conditional.checked;
        approve.textContent = conditional.checked ? "Approve with the condition" : "Approve";
      };
      conditional.addEventListener("change", () => {
        toggle();
        if (conditional.checked) conditions.focus();
      });
      toggle(); // a browser may keep what was ticked over a reload
    }
    const right = (field) => {
      field.removeAttribute("aria-invalid");
      field.removeAttribute("aria-describedby");
    };
    const lacks = (field, what) => {
      [comment, conditions].filter(Boolean).forEach(right);
      problem.textContent = what;
      problem.hidden = false;
      field.setAttribute("aria-describedby", problem.id);
      field.setAttribute("aria-invalid", "true");
      field.focus();
    };
    verdict.addEventListener("input", (event) => {
      problem.hidden = true;
      right(event.target);
    });
    verdict.addEventListener("submit", (event) => {
      event.preventDefault();
      const said = event.submitter.value;
      const tied = said === "approve" && conditional && conditional.checked;
      if (tied && !conditions.value.trim()) return lacks(conditions, "Say what the condition is.");
      if (said === "reject" && !comment.value.trim() && "seat" in verdict.dataset) return lacks(comment, "Say why it is rejected.");
      during(verdict, async () => {
        const answer = { verdict: said, comment: comment.value.trim(), ...(tied && { conditions: conditions.value.trim() }) };
        const told = await post("/verdict", answer);
        say(told.signed ? "Signed. Thank you." : "Noted. Thank you.");
        setTimeout(() => location.reload(), 900);
      });
    });
  }
  const undo = document.getElementById("undo");
  if (undo) {
    undo.addEventListener("submit", (event) => {
      event.preventDefault();
      during(undo, async () => {
        await post("/undo");
        say("Your signature is taken back.");
        setTimeout(() => location.reload(), 900);
      });
    });
  }
  document.getElementById("leave").addEventListener("click", async () => {
    await post("/leave").catch(() => undefined);
    location.reload();
  });
  show(shown);
}
