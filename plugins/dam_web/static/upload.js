// The upload page: many files and folders, several at once, part by part, gone on with after any cut.
"use strict";

const AT_ONCE = 4;
const ROWS = 200; // so many files have a row of their own; the others are counted
const TRIES = 8;
const OURS = new Set(["_COMPLETE", "batch.yaml"]);
const LITTER = new Set(["thumbs.db", "desktop.ini", "__macosx"]);

// ------------------------------------------------------------------------------------------- SHA-256

/** Return the SHA-256 of bytes as base64; without the browser's own where it has none (plain http). */
async function sha256(bytes) {
  const digest = crypto.subtle ? new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)) : slowSha256(new Uint8Array(bytes));
  return btoa(String.fromCharCode(...digest));
}

const K = (() => {
  const found = [];
  for (let number = 2; found.length < 64; number += 1) {
    let prime = true;
    for (let by = 2; by * by <= number; by += 1) if (number % by === 0) prime = false;
    if (prime) found.push(number);
  }
  return found;
})();
const fraction = (value) => Math.floor((value - Math.floor(value)) * 2 ** 32) >>> 0;
const ROUND = K.map((prime) => fraction(Math.cbrt(prime)));
const START = K.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));

/** SHA-256 as FIPS 180-4 writes it. */
function slowSha256(bytes) {
  const padded = new Uint8Array(((bytes.length + 8) >> 6 << 6) + 64);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(padded.length - 4, (bytes.length << 3) >>> 0);
  const state = START.slice();
  const w = new Uint32Array(64);
  const turn = (x, n) => (x >>> n) | (x << (32 - n));
  for (let at = 0; at < padded.length; at += 64) {
    for (let i = 0; i < 16; i += 1) w[i] = view.getUint32(at + i * 4);
    for (let i = 16; i < 64; i += 1) {
      const a = w[i - 15], b = w[i - 2];
      w[i] = (turn(a, 7) ^ turn(a, 18) ^ (a >>> 3)) + w[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ (b >>> 10)) + w[i - 16];
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i += 1) {
      const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + ROUND[i] + w[i]) >>> 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) >>> 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) >>> 0, c, b, a, (one + two) >>> 0];
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => { state[i] = (state[i] + value) >>> 0; });
  }
  const out = new DataView(new ArrayBuffer(32));
  state.forEach((value, i) => out.setUint32(i * 4, value));
  return new Uint8Array(out.buffer);
}

// ----------------------------------------------------------------------------------------- what people read

function size(length) {
  for (const [unit, of] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (length >= of) return `${(length / of).toFixed(1)} ${unit}`;
  }
  return `${length} bytes`;
}

function span(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

const counted = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

// --------------------------------------------------------------------------------------------- the page

const form = document.getElementById("upload");
if (form) {
  const zone = form.querySelector(".dropzone");
  const list = form.querySelector(".files");
  const more = document.getElementById("more");
  const leftOut = document.getElementById("left-out");
  const after = document.getElementById("after");
  const total = form.querySelector(".total");
  const go = form.querySelector("[data-go]");
  const stop = form.querySelector("[data-pause]");
  const entries = new Map(); // path → {path, file, bytes, there, status, told, row}
  let upload = null; // the upload that is gone on with
  let running = false;
  let paused = false;
  let begun = 0;
  let before = 0;
  const skipped = new Set();

  // ---- choosing

  const wanted = (path) => {
    const parts = path.split("/");
    const name = parts[parts.length - 1];
    if (parts.some((part) => part.startsWith(".") || LITTER.has(part.toLowerCase())) || OURS.has(name)) {
      skipped.add(path);
      return false;
    }
    return true;
  };

  const add = (path, file) => {
    if (running || !wanted(path)) return;
    const known = entries.get(path);
    if (known?.file === null && known.bytes !== file.size) known.told = "";
    entries.set(path, { path, file, bytes: file.size, there: known?.there || 0, status: "waiting", told: "", row: known?.row });
  };

  const fromEntry = async (entry, under = "") => {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => { entry.file(resolve, reject); });
      add(under + entry.name, file);
      return;
    }
    const reader = entry.createReader();
    for (;;) { // a reader gives some at a time
      const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
      if (!some.length) return;
      for (const one of some) await fromEntry(one, `${under}${entry.name}/`);
    }
  };

  for (const button of form.querySelectorAll("[data-pick]")) {
    const input = form.elements[button.dataset.pick];
    button.addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      for (const file of input.files) add(file.webkitRelativePath || file.name, file);
      input.value = "";
      show();
    });
  }

  for (const name of ["dragenter", "dragover"]) {
    zone.addEventListener(name, (event) => { event.preventDefault(); zone.classList.add("over"); });
  }
  for (const name of ["dragleave", "drop"]) zone.addEventListener(name, () => zone.classList.remove("over"));
  for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
  zone.addEventListener("drop", async (event) => {
    event.preventDefault();
    const items = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = [...event.dataTransfer.files];
    try {
      if (items.length) for (const item of items) await fromEntry(item);
      else for (const file of files) add(file.name, file);
    } catch (error) {
      say(`Some of it can't be read: ${error.message}. Choose it with the buttons.`);
    }
    show();
  });

  // ---- showing

  const STATUS = { waiting: "", sending: "", done: "Done", failed: "Failed", absent: "Choose it again" };

  const row = (entry) => {
    if (entry.row) return entry.row;
    if (list.children.length >= ROWS && entry.status !== "failed") return null;
    const item = document.createElement("li");
    const name = document.createElement("span");
    const state = document.createElement("span");
    const bar = document.createElement("progress");
    const remove = document.createElement("button");
    name.className = "name";
    name.textContent = entry.path;
    state.className = "state soft";
    bar.max = 1;
    bar.setAttribute("aria-label", entry.path);
    remove.type = "button";
    remove.className = "remove";
    remove.textContent = "×";
    remove.setAttribute("aria-label", `Remove ${entry.path}`);
    remove.addEventListener("click", () => {
      entries.delete(entry.path);
      const next = item.nextElementSibling?.querySelector(".remove") || form.querySelector("[data-pick]");
      item.remove();
      show();
      next.focus();
    });
    item.append(name, state, remove, bar);
    list.append(item);
    entry.row = item;
    return item;
  };

  const draw = (entry) => {
    const item = row(entry);
    if (!item) return;
    const share = entry.bytes ? entry.there / entry.bytes : Number(entry.status === "done");
    item.dataset.status = entry.status;
    item.querySelector("progress").value = share;
    item.querySelector(".remove").hidden = running || entry.status === "done" || !entry.file;
    const percent = entry.status === "sending" || (entry.there && entry.status !== "done") ? ` · ${Math.floor(share * 100)} %` : "";
    const words = STATUS[entry.status] ? ` · ${STATUS[entry.status]}` : "";
    item.querySelector(".state").textContent = entry.told || `${size(entry.bytes)}${words}${percent}`;
  };

  const sum = () => {
    const all = [...entries.values()];
    const bytes = all.reduce((so, entry) => so + entry.bytes, 0);
    const there = all.reduce((so, entry) => so + entry.there, 0);
    const done = all.filter((entry) => entry.status === "done").length;
    return { all, bytes, there, done };
  };

  const tell = () => {
    const { all, bytes, there, done } = sum();
    total.hidden = !all.length;
    total.querySelector("progress").value = bytes ? there / bytes : Number(done === all.length);
    const headline = running || done ? `${done.toLocaleString("en")} of ${counted(all.length, "file")}` : counted(all.length, "file");
    total.querySelector(".headline").textContent = headline;
    const seconds = (Date.now() - begun) / 1000;
    const pace = seconds > 2 ? (there - before) / seconds : 0;
    const left = running && pace > 0 ? ` · ${size(pace)} a second · about ${span((bytes - there) / pace)} left` : "";
    total.querySelector(".pace").textContent = there ? `${size(there)} of ${size(bytes)}${left}` : size(bytes);
  };

  const show = () => {
    const waiting = [...entries.values()].filter((entry) => entry.file && entry.status !== "done");
    for (const entry of entries.values()) draw(entry);
    more.hidden = entries.size <= list.children.length;
    more.textContent = `and ${counted(entries.size - list.children.length, "more file")}`;
    leftOut.hidden = !skipped.size;
    const some = [...skipped].slice(0, 3).join(", ");
    leftOut.textContent = `${counted(skipped.size, "file")} left out, of systems or a card: ${some}${skipped.size > 3 ? " …" : ""}`;
    go.disabled = running || !(waiting.length || (upload && entries.size));
    const failed = waiting.some((entry) => entry.status === "failed");
    go.textContent = failed ? "Try again" : waiting.length ? `Upload ${counted(waiting.length, "file")}` : upload ? "Complete the upload" : "Upload";
    stop.hidden = !running;
    for (const button of form.querySelectorAll("[data-pick]")) button.disabled = running;
    tell();
  };

  // ---- sending

  const card = () => {
    const value = (name) => form.elements[name].value.trim();
    const rights = {};
    for (const name of ["licence", "holder", "starts_on", "ends_on", "model_release", "property_release"]) {
      if (value(name)) rights[name] = value(name);
    }
    for (const name of ["territories", "channels"]) {
      const words = value(name).split(",").map((word) => word.trim()).filter(Boolean);
      if (words.length) rights[name] = words;
    }
    return { campaign: value("campaign") || null, supplier: value("supplier") || null, rights };
  };

  /** Put one part; resolve with the server's answer, reject with an error that says whether to try again. */
  const put = (entry, blob, digest) =>
    new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const from = entry.there;
      request.open("PUT", `${root}/api/uploads/${upload}/files/${entry.id}?offset=${from}`);
      request.setRequestHeader("X-Requested-With", "dam");
      request.setRequestHeader("Content-Digest", `sha-256=:${digest}:`);
      request.upload.onprogress = (event) => { entry.there = from + Math.min(event.loaded, blob.size); draw(entry); tell(); };
      const failed = (told, again) => {
        entry.there = from;
        const words = [told.what, told.remedy].filter(Boolean).join(". ") || told.detail || "The connection broke.";
        reject(Object.assign(new Error(words), { again, offset: told.offset }));
      };
      request.onload = () => {
        let told = {};
        try { told = JSON.parse(request.responseText); } catch { /* a proxy's page */ }
        if (request.status < 300) resolve(told);
        else failed(told, request.status === 409 || request.status === 422 || request.status === 429 || request.status >= 500);
      };
      request.onerror = () => failed({}, true);
      request.ontimeout = request.onerror;
      request.send(blob);
    });

  const sendFile = async (entry) => {
    entry.status = "sending";
    entry.told = "";
    for (let tries = 0; !entry.done; ) {
      while (paused) await pause(200);
      const blob = entry.file.slice(entry.there, entry.there + entry.part);
      try {
        const bytes = await blob.arrayBuffer().catch(() => {
          throw Object.assign(new Error("It can't be read any more: was it moved or changed? Choose it again."), { again: false });
        });
        const told = await put(entry, blob, await sha256(bytes));
        entry.there = told.offset;
        entry.done = told.done;
        tries = 0;
      } catch (error) {
        tries += 1;
        if (!error.again || tries >= TRIES) {
          entry.status = "failed";
          entry.told = error.message;
          draw(entry);
          return;
        }
        entry.told = `${error.message} Trying again …`;
        draw(entry);
        if (error.offset === undefined) await pause(Math.min(15000, 500 * 2 ** tries));
        const told = error.offset === undefined ? await send("GET", `/api/uploads/${upload}/files/${entry.id}`).catch(() => null) : error;
        if (told) { entry.there = told.offset; entry.done = Boolean(told.done); }
        entry.told = "";
      }
      draw(entry);
      tell();
    }
    entry.status = "done";
    entry.told = "";
    entry.there = entry.bytes;
    draw(entry);
    tell();
  };

  const declare = async (waiting) => {
    for (let at = 0; at < waiting.length; at += 500) {
      const some = waiting.slice(at, at + 500);
      const files = some.map((entry) => ({ path: entry.path, bytes: entry.bytes, fingerprint: String(entry.file.lastModified) }));
      const told = await send("POST", `/api/uploads/${upload}/files`, { files });
      told.forEach((one, index) => {
        Object.assign(some[index], { id: one.file, there: one.offset, part: one.part_bytes, done: one.done });
      });
    }
  };

  const sendAll = async () => {
    if (!upload) upload = (await send("POST", "/api/uploads", card())).upload;
    const waiting = [...entries.values()].filter((entry) => entry.file && entry.status !== "done");
    await declare(waiting);
    before = sum().there;
    begun = Date.now();
    const queue = waiting.values();
    const work = async () => { for (const entry of queue) await sendFile(entry); };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    const failed = waiting.filter((entry) => entry.status === "failed");
    if (failed.length) throw new Error(`${counted(failed.length, "file")} could not be sent. See why in the list, then try again.`);
    await send("POST", `/api/uploads/${upload}/complete`, {});
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    running = true;
    after.textContent = "";
    show();
    try {
      await sendAll();
      const { all } = sum();
      say(`Uploaded ${counted(all.length, "file")}. Ingest begins; see Batches.`);
      after.textContent = "All of it is here. Ingest begins in a moment. ";
      const link = document.createElement("a");
      link.href = `${root}/batches`;
      link.textContent = "See Batches";
      after.append(link);
      document.querySelector(`[data-unfinished="${upload}"]`)?.remove();
      upload = null;
      entries.clear();
      skipped.clear();
      list.replaceChildren();
      form.reset();
    } catch (error) {
      say(error.message);
      after.textContent = error.message;
    }
    running = false;
    paused = false;
    stop.textContent = "Pause";
    show();
  });

  stop.addEventListener("click", () => {
    paused = !paused;
    stop.textContent = paused ? "Go on" : "Pause";
  });

  window.addEventListener("beforeunload", (event) => { if (running) event.preventDefault(); });

  // ---- going on after a reload

  for (const button of document.querySelectorAll("[data-resume]")) {
    button.addEventListener("click", async () => {
      try {
        const told = await send("GET", `/api/uploads/${button.dataset.resume}`);
        upload = told.upload;
        form.elements.campaign.value = told.card.campaign || "";
        form.elements.supplier.value = told.card.supplier || "";
        for (const file of told.files) {
          const known = entries.get(file.path);
          if (known) continue;
          entries.set(file.path, {
            path: file.path, file: null, bytes: file.bytes, there: file.offset,
            status: file.done ? "done" : "absent", told: "", row: undefined,
          });
        }
        show();
        say("Choose the same files or folder again: what is here already is not sent again.");
        form.querySelector("[data-pick]").focus();
      } catch (error) {
        say(error.message);
      }
    });
  }
  for (const button of document.querySelectorAll("[data-discard]")) {
    button.addEventListener("click", async () => {
      try {
        await send("DELETE", `/api/uploads/${button.dataset.discard}`);
        document.querySelector(`[data-unfinished="${button.dataset.discard}"]`).remove();
        say("Discarded.");
      } catch (error) {
        say(error.message);
      }
    });
  }
}
