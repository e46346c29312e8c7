"use strict";
// The list of predictions: what the form asks for, 50 items at a time. Texts are only ever set as
// text, never as markup.
(() => {
  const PAGE = 50;
  const data = JSON.parse(document.getElementById("predictions-data").textContent);
  const { texts, blocks, systems } = data;
  const form = document.getElementById("filter");
  const list = document.getElementById("items");
  const count = document.getElementById("count");
  const before = document.getElementById("before");
  const after = document.getElementById("after");
  const place = document.getElementById("page");
  let found = [];
  let page = 0;

  // For each system, from an item's place in its block to that in the system's lists.
  for (const system of systems) {
    system.from = system.at && new Map(system.at.map((item, own) => [item, own]));
  }
  const own = (system, item) => (system.from ? system.from.get(item) : item);

  function fill(name, values) {
    for (const value of new Set(values)) form.elements[name].add(new Option(value, value));
  }
  fill("task", blocks.map((block) => block.task));
  fill("language", blocks.map((block) => block.language));
  fill("model", systems.map((system) => system.group));
  fill("system", systems.map((system) => system.row));

  // What may be searched of an item, made when it is first needed.
  function words(block, item) {
    block.words ??= [];
    block.words[item] ??= [block.items[item][0], ...block.items[item][1].map((pair) => pair[1])]
      .map((number) => texts[number])
      .concat(texts[block.items[item][2]])
      .join("\n")
      .toLocaleLowerCase();
    return block.words[item];
  }

  function verdict(shown, item) {
    let right = 0;
    let all = 0;
    for (const system of shown) {
      const at = own(system, item);
      if (at === undefined) continue;
      all += 1;
      if (system.value[at] === 100) right += 1;
    }
    if (all === 0) return "none";
    return right === all ? "right" : right === 0 ? "wrong" : "both";
  }

  function search() {
    const { task, language, model, system, result, text } = form.elements;
    const wanted = text.value.trim().toLocaleLowerCase();
    found = [];
    blocks.forEach((block, number) => {
      if (task.value && block.task !== task.value) return;
      if (language.value && block.language !== language.value) return;
      const shown = systems.filter(
        (each) =>
          each.block === number &&
          (!model.value || each.group === model.value) &&
          (!system.value || each.row === system.value),
      );
      if (!shown.length) return;
      for (let item = 0; item < block.items.length; item += 1) {
        const state = verdict(shown, item);
        if (state === "none" || (result.value && state !== result.value)) continue;
        if (wanted && !words(block, item).includes(wanted)) continue;
        found.push([block, item, shown]);
      }
    });
    page = 0;
    show();
  }

  function make(tag, text, name) {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  }

  function answers(shown, item) {
    const table = make("table");
    table.append(make("caption", "answers", "hidden"));
    const body = table.appendChild(make("tbody"));
    const several = new Set(shown.map((system) => system.group)).size > 1;
    const rows = new Map();
    for (const system of shown) {
      const at = own(system, item);
      if (at === undefined) continue;
      const name = several ? `${system.row}, ${system.group}` : system.row;
      if (!rows.has(name)) rows.set(name, new Map());
      const key = `${system.got[at]} ${system.value[at]}`;
      const same = rows.get(name).get(key);
      if (same) same.seeds.push(system.seed);
      else {
        const value = system.value[at];
        rows.get(name).set(key, { text: texts[system.got[at]], value, seeds: [system.seed] });
      }
    }
    for (const [name, given] of rows) {
      const row = body.appendChild(make("tr"));
      const head = row.appendChild(make("th", name));
      head.scope = "row";
      const cell = row.appendChild(make("td"));
      for (const { text, value, seeds } of given.values()) {
        const state = value === 100 ? "right" : value === 0 ? "wrong" : "partly";
        const answer = cell.appendChild(make("span", "", `answer ${state}`));
        const words = answer.appendChild(make("bdi", text || "(nothing)"));
        words.lang = "";
        answer.append(make("span", state === "partly" ? ` ${value}` : ` (${state})`, state === "partly" ? "times" : "hidden"));
        const label = seeds.length > 1 ? ` ×${seeds.length}` : given.size > 1 ? ` seed ${seeds[0]}` : "";
        if (label) answer.append(make("span", label, "times"));
        answer.title = `seed${seeds.length > 1 ? "s" : ""} ${seeds.join(", ")}`;
      }
    }
    return table;
  }

  function card([block, item, shown]) {
    const [id, fields, right] = block.items[item];
    const node = make("li");
    node.append(make("div", `${block.task} · ${block.language} · ${texts[id]}`, "where"));
    const words = node.appendChild(make("dl"));
    for (const [name, text] of fields) {
      words.append(make("dt", texts[name]));
      const said = words.appendChild(make("dd", texts[text]));
      said.dir = "auto";
      said.lang = block.language;
    }
    words.append(make("dt", "right answer"));
    const key = words.appendChild(make("dd", texts[right], "key"));
    key.dir = "auto";
    node.append(answers(shown, item));
    return node;
  }

  function show() {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    list.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(card));
    const number = found.length.toLocaleString("en");
    count.textContent = found.length === 1 ? "1 item" : `${number} items`;
    place.textContent = `page ${page + 1} of ${pages}`;
    before.disabled = page === 0;
    after.disabled = page + 1 >= pages;
  }

  function turn(by) {
    page += by;
    show();
    count.scrollIntoView({ block: "start" });
  }
  before.addEventListener("click", () => turn(-1));
  after.addEventListener("click", () => turn(1));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", search);
  form.addEventListener("reset", () => setTimeout(search));
  let waiting;
  form.elements.text.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, 120);
  });
  search();
})();
