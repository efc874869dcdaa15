// The librarian's table: look-up of terms, filling in many rows at once, saving, sheets, and going on.
"use strict";

const list = document.getElementById("suggestions");
const table = document.getElementById("fill");

// ---------------------------------------------------------------------------------------------- terms

// Each field for terms is a combobox (ARIA Authoring Practices, with list autocomplete); what is chosen stands
// before it as buttons that take it away again.
const vocabulary = { terms: [], byId: new Map() };
const loaded = fetch(`${root}/api/terms`, { headers: { Accept: "application/json" } })
  .then((reply) => (reply.ok ? reply.json() : []))
  .then((terms) => {
    vocabulary.terms = terms.map((term) => ({ ...term, folded: [term.id, ...term.words].map(folded) }));
    vocabulary.byId = new Map(terms.map((term) => [term.id, term]));
  })
  .catch(() => say("The vocabulary can't be loaded. Terms can be typed all the same."));

function folded(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().trim();
}

function found(words, facet) {
  const wanted = folded(words);
  if (!wanted) return [];
  const rank = (term) => Math.min(...term.folded.map((word) => (word === wanted ? 0 : word.startsWith(wanted) ? 1 : word.includes(wanted) ? 2 : 9)));
  return vocabulary.terms
    .filter((term) => !facet || term.facet === facet)
    .map((term) => [rank(term), term])
    .filter(([at]) => at < 9)
    .sort(([one], [other]) => one - other)
    .slice(0, 12)
    .map(([, term]) => term);
}

class Terms {
  constructor(element) {
    this.element = element;
    this.input = element.querySelector("input");
    this.chips = element.querySelector(".chips");
    this.chosen = [];
    this.shown = [];
    this.at = -1;
    element.terms = this;
    this.set(element.dataset.value.split("|").filter(Boolean));
    this.first = this.key();
    this.input.addEventListener("input", () => this.open());
    this.input.addEventListener("keydown", (event) => this.press(event));
    this.input.addEventListener("blur", () => this.close());
  }

  // what is chosen, and what is typed but not chosen: the server knows labels as well
  values() {
    return [...this.chosen, ...this.input.value.split(/[|;]/).map((word) => word.trim()).filter(Boolean)];
  }

  key() {
    return this.values().join("|");
  }

  get changed() {
    return this.key() !== this.first;
  }

  set(values) {
    this.chosen = [];
    this.chips.replaceChildren();
    this.input.value = "";
    for (const value of values) this.add(value);
  }

  add(id) {
    if (this.chosen.includes(id)) return;
    this.chosen.push(id);
    const chip = document.createElement("button");
    chip.type = "button";
    const show = () => {
      const name = vocabulary.byId.has(id) ? vocabulary.byId.get(id).label : id;
      chip.textContent = `${name} ×`;
      chip.setAttribute("aria-label", `Remove ${name}`);
    };
    show();
    loaded.then(show);
    chip.addEventListener("click", () => {
      this.chosen.splice(this.chosen.indexOf(id), 1);
      chip.remove();
      this.input.focus();
    });
    this.chips.append(chip);
  }

  open() {
    this.shown = found(this.input.value, this.element.dataset.facet);
    list.replaceChildren(
      ...this.shown.map((term, at) => {
        const item = document.createElement("li");
        item.id = `suggestion-${at}`;
        item.setAttribute("role", "option");
        const also = document.createElement("span");
        also.className = "soft";
        also.textContent = ` ${term.facet} · ${term.words.filter((word) => word !== term.label).slice(0, 3).join(", ")}`;
        item.append(term.label, also);
        item.addEventListener("pointerdown", (event) => {
          event.preventDefault();
          this.choose(at);
        });
        return item;
      }),
    );
    const box = this.input.getBoundingClientRect();
    list.hidden = this.shown.length === 0;
    list.style.left = `${Math.max(4, Math.min(box.left, document.documentElement.clientWidth - list.offsetWidth - 4)) + scrollX}px`;
    list.style.top = `${box.bottom + scrollY + 2}px`;
    this.input.setAttribute("aria-expanded", String(!list.hidden));
    this.mark(-1);
  }

  mark(at) {
    this.at = at;
    [...list.children].forEach((item, index) => item.setAttribute("aria-selected", String(index === at)));
    if (at < 0) this.input.removeAttribute("aria-activedescendant");
    else {
      this.input.setAttribute("aria-activedescendant", `suggestion-${at}`);
      list.children[at].scrollIntoView({ block: "nearest" });
    }
  }

  choose(at) {
    this.input.value = "";
    this.add(this.shown[at].id);
    this.close();
  }

  close() {
    list.hidden = true;
    this.shown = [];
    this.at = -1;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  press(event) {
    const last = this.shown.length - 1;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (last < 0) this.open();
      else if (event.key === "ArrowDown") this.mark(this.at >= last ? 0 : this.at + 1);
      else this.mark(this.at <= 0 ? last : this.at - 1);
      event.preventDefault();
    } else if (event.key === "Enter" && (this.shown.length || this.input.value.trim())) {
      if (this.shown.length) this.choose(Math.max(0, this.at));
      event.preventDefault();
    } else if (event.key === "Escape" && this.shown.length) {
      this.close();
      event.preventDefault();
    } else if (event.key === "Backspace" && !this.input.value && this.chips.lastChild) {
      this.chips.lastChild.click();
    }
  }
}

for (const element of document.querySelectorAll(".terms")) new Terms(element);

// --------------------------------------------------------------------------------------------- fields

// A field is a Terms, or an input, textarea or select that knows what it said when the page came.
function fields(within) {
  return [...within.querySelectorAll("input[name]:not([role=combobox]), textarea, select[name], .terms")].map((element) => element.terms || element);
}

const nameOf = (field) => (field instanceof Terms ? field.element.dataset.name : field.name);
const elementOf = (field) => (field instanceof Terms ? field.input : field);
const first = (element) => (element.tagName === "SELECT" ? element.dataset.first : element.defaultValue);
const isChanged = (field) => (field instanceof Terms ? field.changed : field.value !== first(field));

for (const select of document.querySelectorAll("select[name]")) select.dataset.first = select.value;

function valueOf(field) {
  if (field instanceof Terms) return field.values();
  const value = field.value.trim();
  return "words" in field.dataset ? value.split(/[,;|]/).map((word) => word.trim()).filter(Boolean) : value;
}

function copy(from, to) {
  if (from instanceof Terms) to.set(from.values());
  else to.value = from.value;
}

function keep(field) {
  if (field instanceof Terms) field.first = field.key();
  else if (field.tagName === "SELECT") field.dataset.first = field.value;
  else field.defaultValue = field.value;
}

// what a row says anew; what belongs to a licence is said together
function changes(row) {
  const values = {};
  for (const cell of row.querySelectorAll("td[data-column]")) {
    const inside = fields(cell);
    if (!inside.some(isChanged)) continue;
    for (const field of inside) {
      const value = valueOf(field);
      if (value.length) values[nameOf(field)] = value;
    }
  }
  return values;
}

if (table) {
  const rows = [...table.querySelectorAll("tbody tr")];
  const open = () => rows.filter((row) => !row.classList.contains("done"));
  const boxes = rows.map((row) => row.querySelector(".select"));

  // ------------------------------------------------------------------------------------ select and apply

  const all = document.getElementById("select-all");
  const selected = () => open().filter((row) => row.querySelector(".select").checked);
  const counted = document.getElementById("selected");
  const count = () => {
    const many = selected().length;
    if (counted) counted.textContent = many;
    all.checked = many > 0 && many === open().length;
    all.indeterminate = many > 0 && !all.checked;
    for (const row of rows) row.classList.toggle("selected", row.querySelector(".select").checked);
  };
  let last = null;
  boxes.forEach((box, at) => {
    box.addEventListener("click", (event) => {
      if (event.shiftKey && last !== null) {
        for (let i = Math.min(last, at); i <= Math.max(last, at); i += 1) if (!boxes[i].disabled) boxes[i].checked = box.checked;
      }
      last = at;
      count();
    });
  });
  all.addEventListener("change", () => {
    for (const row of open()) row.querySelector(".select").checked = all.checked;
    count();
  });

  const bulk = document.getElementById("bulk");
  if (bulk) {
    const chosen = document.getElementById("bulk-field");
    const panel = () => bulk.querySelector(`[data-bulk="${chosen.value}"]`);
    chosen.addEventListener("change", () => {
      for (const other of bulk.querySelectorAll("[data-bulk]")) other.hidden = other !== panel();
    });
    const apply = (some) => {
      const given = fields(panel()).filter((field) => valueOf(field).length);
      if (!given.length) {
        say("Fill in the value first.");
        elementOf(fields(panel())[0]).focus();
        return;
      }
      let many = 0;
      for (const row of some) {
        const twins = fields(row);
        const hits = given.map((field) => [field, twins.find((twin) => nameOf(twin) === nameOf(field))]).filter(([, twin]) => twin);
        for (const [field, twin] of hits) copy(field, twin);
        if (hits.length) many += 1;
      }
      say(many ? `Filled in for ${many} version${many === 1 ? "" : "s"}. Save to keep it.` : "None of these lacks it.");
    };
    document.getElementById("apply-selected").addEventListener("click", () => {
      if (selected().length) apply(selected());
      else say("Select versions first, by the boxes at the left.");
    });
    document.getElementById("apply-all").addEventListener("click", () => apply(open()));
  }

  // ------------------------------------------------------------------------------------------------ save

  const clear = (row) => {
    for (const wrong of row.querySelectorAll(".wrong")) wrong.remove();
    for (const element of row.querySelectorAll("[aria-invalid]")) {
      element.removeAttribute("aria-invalid");
      element.removeAttribute("aria-describedby");
    }
  };
  const refuse = (row, fault) => {
    const field = fields(row).find((one) => nameOf(one) === fault.field);
    const wrong = document.createElement("small");
    wrong.className = "wrong";
    wrong.id = `wrong-${row.dataset.version}`;
    wrong.textContent = [fault.what, fault.remedy].filter(Boolean).join(". ");
    if (!field) {
      row.querySelector(".state").append(wrong);
      return null;
    }
    const element = elementOf(field);
    element.setAttribute("aria-invalid", "true");
    element.setAttribute("aria-describedby", wrong.id);
    element.closest("td").append(wrong);
    return element;
  };
  const settle = (row, faults) => {
    for (const field of fields(row)) keep(field);
    const told = row.querySelector(".state .told");
    if (!faults) {
      row.classList.add("done");
      const badge = document.createElement("span");
      badge.className = "badge state-done";
      badge.textContent = "complete";
      told.replaceChildren(badge);
      const box = row.querySelector(".select");
      [box.checked, box.disabled] = [false, true];
    }
    for (const small of row.querySelectorAll("td[data-column] .fault")) small.hidden = true;
    if (faults) {
      told.replaceChildren(
        ...faults.map((fault) => {
          const small = document.createElement("small");
          small.className = "fault";
          small.textContent = `${fault.field.replace(/^tags\./, "tags of ").replace(/_/g, " ")} ${fault.problem} ${fault.remedy}`;
          return small;
        }),
      );
    }
  };
  const tell = (told) => {
    const many = told.saved.length;
    const wrong = Object.keys(told.refused).length;
    const left = open().length;
    document.getElementById("left").textContent = `${left} version${left === 1 ? "" : "s"} incomplete`;
    say(
      [
        `Saved ${many} version${many === 1 ? "" : "s"}`,
        wrong ? `; ${wrong} could not be saved, see the table` : "",
        left ? `; ${left} still incomplete.` : ". Everything is complete: go on with Done.",
      ].join(""),
    );
    count();
  };

  table.addEventListener("submit", async (event) => {
    event.preventDefault();
    const given = {};
    for (const row of rows) {
      const values = changes(row);
      if (Object.keys(values).length) given[row.dataset.version] = values;
    }
    if (!Object.keys(given).length) {
      say("There is nothing new to save.");
      return;
    }
    busy(table, true);
    try {
      const told = await send("POST", `/api/batches/${table.dataset.batch}/metadata`, { rows: given });
      let focus = null;
      for (const row of rows) {
        const id = row.dataset.version;
        if (!(id in given)) continue;
        clear(row);
        if (told.refused[id]) focus = focus || refuse(row, told.refused[id]);
        else settle(row, told.missing[id]);
      }
      tell(told);
      if (focus) focus.focus();
    } catch (error) {
      say(error.message);
    }
    busy(table, false);
  });

  addEventListener("beforeunload", (event) => {
    if (open().some((row) => Object.keys(changes(row)).length)) event.preventDefault();
  });
}

// ---------------------------------------------------------------------------------------------- sheets

const sheet = document.getElementById("sheet");
if (sheet) {
  const faults = document.getElementById("sheet-faults");
  sheet.elements.sheet.addEventListener("change", async () => {
    const [file] = sheet.elements.sheet.files;
    if (!file) return;
    faults.replaceChildren();
    try {
      const told = await send("POST", `/api/batches/${table.dataset.batch}/metadata.csv`, file);
      const saved = `Saved ${told.saved.length} version${told.saved.length === 1 ? "" : "s"} of ${file.name}`;
      if (!told.faults.length) {
        say(`${saved}.`);
        setTimeout(() => location.reload(), 900);
        return;
      }
      say(`${saved}; ${told.faults.length} fault${told.faults.length === 1 ? "" : "s"}.`);
      const heading = document.createElement("p");
      heading.className = "notice";
      heading.textContent = `${saved}. Mend these in the file, and upload it again; what was saved stays:`;
      const items = document.createElement("ul");
      for (const fault of told.faults) {
        const item = document.createElement("li");
        item.textContent = `Line ${fault.line}${fault.column ? `, ${fault.column}` : ""}: ${[fault.what, fault.remedy].filter(Boolean).join(". ")}`;
        items.append(item);
      }
      faults.append(heading, items);
    } catch (error) {
      say(error.message);
    }
    sheet.reset();
  });
}

// --------------------------------------------------------------------------------------------- going on

const finish = document.getElementById("finish");
if (finish) {
  finish.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (table && [...table.querySelectorAll("tbody tr")].some((row) => Object.keys(changes(row)).length)) {
      say("Save first: there are values in the table that are not saved.");
      return;
    }
    const answer = event.submitter.value;
    busy(finish, true);
    try {
      const told = await send("POST", `/api/batches/${finish.dataset.batch}/finish`, { answer, comment: finish.elements.comment.value.trim() });
      say(told.left_out.length ? `Signed under your name; ${told.left_out.length} left out.` : "Signed under your name. The batch goes on.");
      goSoon("/librarian");
    } catch (error) {
      say(error.message);
      busy(finish, false);
    }
  });
}
