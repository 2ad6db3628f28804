// The page on which people judge. All texts of questions and answers go through textContent: they are shown, never run.
"use strict";

const $ = (id) => document.getElementById(id);
const store = {
  get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
  set: (key, value) => { try { localStorage.setItem(key, value); } catch { /* a private window */ } },
};
let language = store.get("language") || document.documentElement.lang;
let annotator = new URLSearchParams(location.search).get("annotator") || "";
let state = null;   // what the server said last
let busy = false;   // something is on its way: keys wait
let groups = [];    // ranking: places of answers, the best first; equal ones share a group
let joins = false;  // ranking: the next digit shares the last place
let chosen = null;  // best: place of the answer

function word(key, values = {}) {
  return (WORDS[language] || WORDS.en)[key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

function make(tag, className, text, ...children) {
  const found = document.createElement(tag);
  if (className) found.className = className;
  if (text !== undefined && text !== null) found.textContent = text;
  found.append(...children);
  return found;
}

function say(text) { $("said").textContent = text; }

// --- talking to the server

// What a server says is the next state, or why not; returns whether it did what was asked.
function settle(status, found) {
  const done = status === 200;
  say(done ? "" : status === 409 ? word("stale") : word("refused", { error: found.error }));
  if (found.annotator === undefined) {
    if (!state) askName();
    return done;
  }
  state = found;
  groups = []; joins = false; chosen = null;
  render();
  if (done) scrollTo(0, 0);
  return done;
}

// Lines of JSON: pieces of answers, for `heard`, and at last the state.
async function lines(body, heard) {
  const reader = body.getReader(), decoder = new TextDecoder();
  for (let rest = ""; ;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("it ended before the state came");
    const whole = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = whole.pop();
    for (const found of whole.map((line) => JSON.parse(line))) {
      if (found.piece === undefined) return found;
      heard(found.place, found.piece);
    }
  }
}

async function request(path, body, heard) {
  if (busy) return false;
  busy = true;
  document.body.toggleAttribute("data-busy", true);
  try {
    const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    const answer = await fetch(path, options || {});
    if (![200, 400, 409, 507].includes(answer.status)) {
      const error = await answer.text();
      if (heard) render();
      say(word("refused", { error }));
      return false;
    }
    const found = heard && answer.ok ? await lines(answer.body, heard) : await answer.json();
    return settle(found.status || answer.status, found);
  } catch {
    if (heard) render();
    say(word("offline"));
    return false;
  } finally {
    busy = false;
    document.body.toggleAttribute("data-busy", false);
  }
}

const load = () => request("api/state?annotator=" + encodeURIComponent(annotator));
const act = (what, more = {}) => request("api/" + what, { annotator, turn: state.turn, ...more });
const vote = (more) => act("vote", { question: state.question.id, order: state.question.order, ...more });

// --- what each task's keys do: [key, label, action, main]

const best = (place, n) => Array.from({ length: n }, (_, i) => (i === place ? 1 : 2));
const higher = (q) => (q.scores[0] >= q.scores[1] ? 0 : 1);

const TASKS = {
  pairs: (q) => [
    ["1", word("better", { n: 1 }), () => vote({ ranks: best(0, 2) }), true],
    ["0", word("tie"), () => vote({ ranks: [1, 1] })],
    ["2", word("better", { n: 2 }), () => vote({ ranks: best(1, 2) }), true],
  ],
  thumbs: () => [
    ["1", word("good"), () => vote({ desirable: true }), true],
    ["0", word("unsure"), () => vote({ desirable: null })],
    ["2", word("bad"), () => vote({ desirable: false }), true],
  ],
  check: (q) => [
    ["1", word("deserved"), () => vote({ ranks: best(higher(q), 2) }), true],
    ["0", word("equal"), () => vote({ ranks: [1, 1] })],
    ["2", word("undeserved"), () => vote({ ranks: best(1 - higher(q), 2) }), true],
  ],
  ranking: (q) => [
    ["0", word("together"), () => { joins = groups.length > 0; render(); }],
    ["Backspace", word("back"), takeBack],
    ["Enter", word("send"), sendRanking, true],
    ...digits(q),
  ],
  best: (q) => [["Enter", word("send"), sendBest, true], ...digits(q)],
};
TASKS.arena = TASKS.pairs;

const digits = (q) => q.responses.map((_, i) => [String(i + 1), null, () => pick(i)]);

function pick(place) {
  const q = state.question;
  if (q.task === "best") {
    chosen = place;
    render();
    $("why").focus();
  } else if (q.task === "ranking" && !groups.flat().includes(place)) {
    if (joins) groups[groups.length - 1].push(place);
    else groups.push([place]);
    joins = false;
    render();
  }
}

function takeBack() {
  if (joins) joins = false;
  else if (groups.length) {
    groups[groups.length - 1].pop();
    if (!groups[groups.length - 1].length) groups.pop();
  }
  render();
}

function sendRanking() {
  const n = state.question.responses.length;
  if (groups.flat().length === n - 1) groups.push([...Array(n).keys()].filter((i) => !groups.flat().includes(i)));
  if (groups.flat().length < n) return say(word("ranking_hint"));
  vote({ ranks: Array.from({ length: n }, (_, i) => groups.findIndex((group) => group.includes(i)) + 1) });
}

function sendBest() {
  const n = state.question.responses.length;
  if (chosen === null) return say(word("ask_best"));
  vote({ ranks: best(chosen, n), comment: $("why").value });
}

// --- showing

function askName() {
  $("ask").textContent = word("who");
  $("where").hidden = $("keys").hidden = $("name").hidden = true;
  const input = make("input");
  Object.assign(input, { id: "who", maxLength: 40, value: store.get("annotator") || "", autocomplete: "off", required: true });
  const form = make("form", "", null, make("label", "hint", word("who_hint")), input, make("button", "main", word("start")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    annotator = input.value.trim();
    if (!annotator) return;
    store.set("annotator", annotator);
    // The name stands in the address, so that two windows may have two, and a reload keeps it.
    history.replaceState(null, "", "?annotator=" + encodeURIComponent(annotator));
    state = null;
    load();
  });
  $("main").replaceChildren(form);
  input.focus();
}

function header() {
  const q = state.question;
  $("name").hidden = $("where").hidden = false;
  $("name").textContent = state.annotator;
  $("name").title = word("who");
  const open = state.total === null;
  $("bar").hidden = open;
  $("bar").max = Math.max(1, state.total || 1);
  $("bar").value = state.done;
  $("progress").textContent = open ? word("progress_open", state) : word("progress", state);
  const agreed = state.agreement;
  $("agreement").textContent = agreed
    ? word("agreement", { share: Math.round(100 * agreed.share) + "%", pairs: agreed.pairs })
    : open ? "" : word("no_agreement");
  const task = q ? q.task : state.task;
  $("ask").textContent = !q && task !== "arena"
    ? word("done")
    : word("ask_" + task, { n: task === "check" ? higher(q) + 1 : "" });
}

function turn(role, text) {
  const body = make("p", "text", text);
  body.dir = "auto";
  return make("div", "turn " + (["user", "assistant", "system", "tool"].includes(role) ? role : ""), null,
    make("span", "role", word(["assistant", "system", "tool"].includes(role) ? role : "user")), body);
}

function answer(q, i) {
  const title = make("h2", "", null, make("kbd", "", String(i + 1)), make("span", "", word("answer", { n: i + 1 })));
  if (q.scores) title.append(make("span", "score", word("score", { score: q.scores[i].toFixed(2) })));
  const place = groups.findIndex((group) => group.includes(i));
  if (place >= 0) title.append(make("span", "rank", word("rank", { n: place + 1 })));
  const body = make("p", "text", q.responses[i]);
  body.dir = "auto";
  const card = make("article", "answer", null, title, body);
  card.classList.toggle("chosen", chosen === i || place >= 0);
  card.classList.toggle("high", Boolean(q.scores) && higher(q) === i);
  if (["ranking", "best"].includes(q.task)) card.addEventListener("click", () => pick(i));
  else card.classList.add("still");
  return card;
}

function keys() {
  const q = state.question;
  const found = q ? [...TASKS[q.task](q), ["s", word("skip"), () => act("skip", { question: q.id })]] : [];
  found.push(["u", word("undo"), () => act("undo"), false, !state.can_undo]);
  if (state.task === "arena") found.push(["n", word("new_talk"), () => act("reset")]);
  return found;
}

function footer() {
  const shown = keys().filter(([, label]) => label !== null).map(([key, label, does, main, off]) => {
    const button = make("button", main ? "main" : "", null, make("kbd", "", key === "Backspace" ? "⌫" : key), " " + label);
    button.type = "button";
    button.disabled = Boolean(off);
    button.addEventListener("click", () => { if (!busy) does(); });
    return button;
  });
  $("keys").replaceChildren(...shown);
  $("keys").hidden = false;
}

function why() {
  const input = make("input");
  Object.assign(input, { id: "why", maxLength: 2000, placeholder: word("why"), autocomplete: "off" });
  input.setAttribute("aria-label", word("why"));
  const form = make("form", "", null, input);
  form.addEventListener("submit", (event) => { event.preventDefault(); if (!busy) sendBest(); });
  return form;
}

function talkForm() {
  const input = make("textarea");
  Object.assign(input, { id: "say", rows: 2, maxLength: 20000, placeholder: word("say") });
  input.setAttribute("aria-label", word("say"));
  const form = make("form", "", null, input, make("button", "main", word("ask")));
  const ask = () => {
    if (busy || !input.value.trim()) return;
    const text = input.value, q = { task: "arena", responses: ["", ""] };
    const both = make("section", "", null, answer(q, 0), answer(q, 1));
    both.id = "answers";
    both.setAttribute("aria-busy", "true");
    const heard = (place, piece) => both.children[place].querySelector(".text").append(piece);
    request("api/say", { annotator, turn: state.turn, text }, heard).then((done) => {
      if (!done && $("say")) $("say").value = text;
    });
    say(word("waiting"));
    $("main").replaceChildren(...state.talk.map(([role, said]) => turn(role, said)), turn("user", text.trim()), both);
  };
  input.addEventListener("keydown", (event) => {
    // Enter ends a word in an input method for Chinese.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); ask(); }
  });
  form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  return form;
}

function render() {
  const q = state.question, kept = $("why") ? $("why").value : "";
  header();
  const found = [];
  if (q) {
    found.push(...q.prompt.map(([role, text]) => turn(role, text)));
    const answers = make("section", "", null, ...q.responses.map((_, i) => answer(q, i)));
    answers.id = "answers";
    found.push(answers);
    if (q.task === "ranking") found.push(make("p", "hint", word("ranking_hint")));
    if (q.task === "best") found.push(why());
  } else if (state.task === "arena") {
    found.push(...state.talk.map(([role, text]) => turn(role, text)));
    if (!state.talk.length) found.push(make("p", "hint", word("arena_hint")));
    if (state.note) say(word("note_" + state.note));
    found.push(talkForm());
  } else {
    found.push(make("p", "hint", word(state.done < state.total ? "nothing_left" : "done_hint")));
  }
  $("main").replaceChildren(...found);
  footer();
  if (chosen !== null) $("why").value = kept;
  if ($("say")) $("say").focus();
  else if (document.activeElement && document.activeElement !== document.body) document.activeElement.blur();
}

document.addEventListener("keydown", (event) => {
  const typing = ["INPUT", "TEXTAREA"].includes(event.target.tagName);
  if (event.key === "Escape" && typing) return event.target.blur();
  // A key that is held down, or belongs to the browser, is no vote.
  if (typing || busy || event.repeat || event.ctrlKey || event.metaKey || event.altKey || !state) return;
  if (event.key === "Enter" && event.target.tagName === "BUTTON") return;
  const found = keys().find(([key, , , , off]) => key === event.key && !off);
  if (found) {
    event.preventDefault();
    found[2]();
  }
});

$("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  store.set("language", language);
  translate();
  if (state) render();
  else askName();
});
$("name").addEventListener("click", () => { state = null; say(""); askName(); });

function translate() {
  document.documentElement.lang = language;
  $("language").textContent = word("other");
}

translate();
if (annotator) load();
else askName();
