"use strict";
(() => {
  const root = document.documentElement;
  const remember = (name, value) => { try { localStorage.setItem(name, value); } catch { /* a file may have no storage */ } };
  const language = () => root.dataset.language;

  const setLanguage = (name) => {
    root.dataset.language = name;
    root.lang = name === "zh" ? "zh-CN" : "en";
    for (const option of document.querySelectorAll("option[data-en]")) option.textContent = option.dataset[name];
  };
  for (const button of document.querySelectorAll("[data-set-language]"))
    button.addEventListener("click", () => { setLanguage(button.dataset.setLanguage); browse?.(); });

  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    remember("theme", root.dataset.theme);
  });

  // A legend's entry hides its series in the charts of its own section.
  for (const button of document.querySelectorAll("[data-toggle]"))
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      for (const series of button.closest("section").querySelectorAll(".series"))
        if (series.dataset.series === button.dataset.toggle) series.classList.toggle("off", !on);
    });

  let browse = null;
  const source = document.getElementById("data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const form = document.getElementById("filters");
  const PER_PAGE = 10;
  let page = 0;

  const word = (key) => data.words[key][language() === "zh" ? 1 : 0];
  const option = (select, value, label) => {
    const made = document.createElement("option");
    made.value = value;
    if (data.words[label] && value !== label) {
      [made.dataset.en, made.dataset.zh] = data.words[label];
      made.textContent = word(label);
    } else made.textContent = label;
    select.append(made);
  };
  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    // Only ever as text: nobody knows what a model wrote.
    if (text !== undefined) made.textContent = text;
    return made;
  };

  option(form.category, "", "any");
  for (const kind of [...new Set(data.items.map((item) => item.k))].filter(Boolean).sort()) option(form.category, kind, kind);
  for (const name of data.names) { option(form.first, name, name); option(form.second, name, name); }
  form.first.value = data.names[data.names.length - 1];
  form.second.value = data.names[Math.max(0, data.names.length - 2)];
  for (const name of data.by) option(form.by, name, name);
  for (const [value, label] of [["", "any"], ["1", "first_wins"], ["0", "ties"], ["-1", "second_wins"]])
    option(form.outcome, value, label);
  if (data.names.length < 2 || !data.by.length)
    for (const name of ["first", "second", "by", "outcome"]) form[name].parentElement.hidden = true;
  if (form.category.length < 2) form.category.parentElement.hidden = true;

  const outcome = (item) => {
    const [a, b] = [item.a[form.first.value]?.[form.by.value], item.a[form.second.value]?.[form.by.value]];
    return a === undefined || b === undefined ? null : String(Math.sign(a - b));
  };
  const matches = (item) => {
    const query = form.query.value.trim().toLowerCase();
    return (!form.category.value || item.k === form.category.value)
      && (!form.outcome.value || outcome(item) === form.outcome.value)
      && (!query || [...item.p.map((turn) => turn[1]), ...Object.values(item.a).map((answer) => answer.t)]
        .some((text) => String(text).toLowerCase().includes(query)));
  };
  const best = (item) => {
    const known = Object.values(item.a).map((answer) => answer[form.by.value]).filter((value) => value !== undefined);
    return known.length > 1 && Math.max(...known) > Math.min(...known) ? Math.max(...known) : null;
  };
  const card = (item) => {
    const made = element("article", "item");
    if (item.k) made.append(element("span", "tag", item.k));
    for (const [role, text] of item.p) {
      const turn = element("p", "turn");
      if (item.p.length > 1) turn.append(element("small", "", `${role}: `));
      turn.append(text);
      made.append(turn);
    }
    const answers = element("div", "answers");
    const top = best(item);
    for (const name of data.names) {
      const answer = item.a[name];
      if (!answer) continue;
      const side = element("div", answer[form.by.value] === top && top !== null ? "answer best" : "answer");
      side.append(element("h4", "", name), element("p", "", answer.t || word("nothing")));
      const numbers = [];
      for (const key of ["score", "gold", "reward", "kl"]) if (answer[key] !== undefined) numbers.push(`${key} ${answer[key].toFixed(2)}`);
      if (answer.tokens !== undefined) numbers.push(`${answer.tokens} ${word("tokens")}`);
      if (answer.f === false) numbers.push(word("cut_off"));
      side.append(element("p", "numbers", numbers.join(" · ")));
      answers.append(side);
    }
    made.append(answers);
    return made;
  };
  browse = () => {
    const found = data.items.filter(matches);
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    page = Math.min(page, pages - 1);
    document.getElementById("count").textContent = `${found.length} / ${data.items.length}`;
    document.getElementById("items").replaceChildren(...found.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(card));
    document.getElementById("page").textContent = `${page + 1} / ${pages}`;
    document.getElementById("previous").disabled = page === 0;
    document.getElementById("next").disabled = page === pages - 1;
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => { page = 0; browse(); });
  document.getElementById("previous").addEventListener("click", () => { page -= 1; browse(); });
  document.getElementById("next").addEventListener("click", () => { page += 1; browse(); });
  document.getElementById("browser").hidden = false;
  browse();
})();
