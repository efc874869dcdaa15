// What the scripts of all pages share, guests' pages too: to tell something, and to ask the server.
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
