// The queue page: keys, the next item shown at once, answers sent in the background until the server has acknowledged them.
"use strict";
(() => {
  const page = document.getElementById("page");
  const saved = document.getElementById("saved");
  const trouble = document.getElementById("trouble");
  const keys = document.getElementById("keys");
  const csrf = page.dataset.csrf;
  const LOGGED_OUT = "You are logged out. Log in in another tab, then reload this page.";
  const outbox = [];        // answers not yet acknowledged, in order; the first is on its way
  let sending = false;
  let next;                 // markup of the item behind this one; undefined: not here yet; null: there is none
  let waiting = false;      // the reviewer has answered, and the next item is not here yet
  let shown = performance.now();
  let undoing = false;
  let asked = 0;            // number of the latest prefetch; older ones are stale

  const work = () => document.getElementById("work");
  const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, "0")).join("");

  function say(text) { saved.textContent = text; }
  function complain(text) { trouble.textContent = text; trouble.hidden = !text; }
  function parsed(markup) {  // inert until it is put into the page; scripts in it never run
    const holder = document.createElement("template");
    holder.innerHTML = markup;
    return holder.content.querySelector("#work");
  }

  function show(element, focus = true) {
    work().replaceWith(element);
    for (const sound of element.querySelectorAll("audio")) sound.load();  // it came out of an inert document
    shown = performance.now();
    waiting = false;
    document.body.classList.remove("waiting");
    if (focus) {
      document.getElementById("heading").focus({ preventScroll: true });
      window.scrollTo(0, 0);
    }
    document.dispatchEvent(new CustomEvent("item-shown", { detail: element.dataset.item }));
  }

  function keepNext(markup) {
    next = markup === null ? null : parsed(markup);
    if (next && !next.dataset.token) next = null;
    if (next) for (const image of next.querySelectorAll(".stage img")) new Image().src = image.getAttribute("src");
    if (waiting) advance();
  }

  function advance() {
    if (next) {
      const element = next;
      next = undefined;
      show(element);
    } else if (next === null && !outbox.length) {
      fetchWork(0).then(markup => show(parsed(markup)));
    } else {
      waiting = true;
      document.body.classList.add("waiting");
    }
  }

  async function fetchWork(ahead) {
    const address = `${page.dataset.next}&ahead=${ahead}`;
    for (let pause = 300; ; pause = Math.min(2 * pause, 5000)) {
      try {
        const answer = await fetch(address, { headers: { accept: "text/html, application/json;q=0.5" }, redirect: "error" });
        if (answer.ok) { complain(""); return await answer.text(); }
        const told = await answer.json().catch(() => ({}));
        complain(answer.status === 401 ? LOGGED_OUT : `${told.found || "The server refuses"}. ${told.fix || ""}`);
        pause = 5000;
      } catch { complain("No connection. Trying again…"); }
      await new Promise(done => setTimeout(done, pause));
    }
  }

  async function prefetch() {
    const mine = ++asked;
    const markup = await fetchWork(1);
    if (mine === asked && !outbox.length) keepNext(markup);
  }

  async function post(address, body) {
    const headers = { "accept": "application/json", "x-csrf-token": csrf, "content-type": "application/x-www-form-urlencoded" };
    const answer = await fetch(address, { method: "POST", headers, body, redirect: "error" });
    const told = await answer.json().catch(() => ({}));
    return { status: answer.status, ok: answer.ok, told };
  }

  function counted() {
    return outbox.length === 1 ? "1 answer is not saved yet…" : `${outbox.length} answers are not saved yet…`;
  }

  async function pump() {
    if (sending) return;
    sending = true;
    let pause = 250;
    while (outbox.length) {
      say(counted());
      let result;
      try { result = await post("/queue/answer", outbox[0].body); } catch { result = { status: 0, ok: false, told: {} }; }
      if (!result.ok && (result.status === 0 || result.status === 429 || result.status >= 500)) {
        complain(result.told.fix ? `${result.told.found}. ${result.told.fix}. Trying again…` : "No connection. The answer is kept here and sent again…");
        await new Promise(done => setTimeout(done, pause));
        pause = Math.min(2 * pause, 8000);
        continue;
      }
      pause = 250;
      const sent = outbox.shift();
      if (result.ok) {
        complain("");
        say(outbox.length ? counted() : result.told.told);
        if (!sent.stay) {
          asked++;
          if (waiting && !outbox.length) {  // answered before the item behind it was here: that one comes first
            show(parsed(await fetchWork(0)));
            prefetch();
          } else keepNext(result.told.next);
        }
        progress();
      } else {
        complain(`Not saved (item ${sent.item}): ${result.told.found || "refused"}. ${result.told.fix || ""}`);
        say(outbox.length ? counted() : "");
        if (result.status === 401) { complain(`Not saved (item ${sent.item}). ${LOGGED_OUT}`); outbox.length = 0; break; }
        if (!sent.stay) { asked++; keepNext(await fetchWork(outbox.length ? 2 : 1)); }
      }
    }
    sending = false;
    if (waiting && next === undefined) prefetch(); else if (waiting) advance();
  }

  let due = 0;
  function progress() {  // at most once in two seconds
    if (due) return;
    due = setTimeout(async () => {
      due = 0;
      try {
        const answer = await fetch("/queue/progress", { redirect: "error" });
        if (answer.ok) document.getElementById("progress").innerHTML = await answer.text();
      } catch { /* the next answer asks again */ }
    }, 2000);
  }

  function problem(form, said) {
    const fields = new FormData(form);
    if (said === "auto" && !String(fields.get("class_name")).trim() && !fields.getAll("member").length
        && ![...fields].some(([name, value]) => /^(quick|share-|other-share-)/.test(name) && String(value).trim())) return "Choose an answer.";
    if (said === "named" || (said === "auto" && String(fields.get("class_name")).trim())) {
      const list = document.getElementById("all-classes");
      const typed = String(fields.get("class_name")).trim().toLowerCase();
      const names = [...list.options].map(option => option.value.trim().toLowerCase());
      if (!typed) return "Type the name of a class.";
      if (names.length < 5000 && typed.split("|").some(part => !names.includes(part.trim())) && !names.includes(typed)) return "There is no such class.";
    }
    if (said === "distribution" || (said === "auto" && !String(fields.get("class_name")).trim())) {
      const given = sum(form);
      if (given !== null && Math.abs(given - 100) > 0.5 && Math.abs(given - 1) > 0.005) return `The shares sum to ${Math.round(100 * given) / 100}, not to 100.`;
    }
    return "";
  }

  function sum(form) {  // of the shares; null where there are none
    const quick = form.elements.quick ? form.elements.quick.value.trim() : "";
    const parts = quick ? quick.split(/[\s/|;:]+/) : [...form.querySelectorAll("input[type=number]")].map(field => field.value);
    const numbers = parts.filter(Boolean).map(part => Number(part.replace("%", "").replace(",", ".")));
    return numbers.length ? numbers.reduce((a, b) => a + b, 0) : null;
  }

  function send(form, said) {
    if (waiting || undoing || !form.isConnected) return;
    const refused = problem(form, said);
    if (refused) { complain(refused); return; }
    complain("");
    const body = new URLSearchParams(new FormData(form));
    body.set("answer", said);
    body.set("client_id", random());
    body.set("seconds", ((performance.now() - shown) / 1000).toFixed(2));
    body.delete("csrf");
    const stay = said === "flag" || said === "unflag";
    if (!stay) body.set("ahead", "1");
    outbox.push({ body, stay, item: work().dataset.item });
    if (stay) flagged(form, said === "flag"); else { asked++; advance(); }
    pump();
  }

  function flagged(form, on) {
    const button = form.querySelector("[data-key=f]");
    button.value = on ? "unflag" : "flag";
    button.firstChild.textContent = on ? "Take the flag off " : "Flag ";
    say(on ? "Flagged." : "The flag is off.");
  }

  async function undo() {
    if (undoing) return;
    undoing = true;
    document.body.classList.add("waiting");
    while (sending || outbox.length) await new Promise(done => setTimeout(done, 20));
    try {
      const result = await post("/queue/undo", new URLSearchParams(new FormData(document.getElementById("undo").form)));
      if (!result.ok) complain(`${result.told.found || "Not undone"}. ${result.told.fix || ""}`);
      else {
        say(result.told.told);
        if (result.told.work) {
          if (result.told.page !== page.dataset.page) { location.assign(result.told.page); return; }
          asked++;
          next = undefined;
          show(parsed(result.told.work));
          prefetch();
        }
        progress();
      }
    } catch { complain("No connection. Nothing was undone."); }
    undoing = false;
    document.body.classList.remove("waiting");
  }

  const typing = target => target.matches("input:not([type=checkbox]):not([type=radio]), textarea, select");

  function reach(control) {  // a key on a control: press what can be pressed, go to what can be filled in
    if (control.disabled) return;
    if (control.matches("input:not([type=checkbox]), textarea, select")) { control.focus(); control.scrollIntoView({ block: "nearest" }); }
    else if (control.matches("summary")) {
      const field = control.parentElement.querySelector("input");
      control.parentElement.open = field ? true : !control.parentElement.open;
      if (field) field.focus();
      (field || control).scrollIntoView({ block: "nearest" });
    } else control.click();
  }

  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || keys.open) return;
    if (event.key === "Escape" && typing(event.target)) { event.target.blur(); document.getElementById("heading").focus({ preventScroll: true }); return; }
    if (event.key === "Enter" && event.target.matches("textarea") && !event.shiftKey) { event.preventDefault(); event.target.blur(); document.getElementById("heading").focus({ preventScroll: true }); return; }
    if (typing(event.target) || (event.key === "Enter" && event.target.matches("button, a, summary, input"))) return;
    if (event.key === "z") { event.preventDefault(); undo(); return; }
    if (event.key === "?") { event.preventDefault(); keys.showModal(); return; }
    const control = work().querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (control) { event.preventDefault(); if (!event.repeat) reach(control); }
  });

  document.addEventListener("submit", event => {
    const form = event.target;
    if (form.matches("form.answer")) {
      event.preventDefault();
      send(form, event.submitter && event.submitter.name === "answer" ? event.submitter.value : "auto");
    } else if (event.submitter && event.submitter.id === "undo") { event.preventDefault(); undo(); }
  });

  document.addEventListener("click", event => {
    const control = event.target.closest("[data-do], #help");
    if (!control) return;
    if (control.id === "help") { keys.showModal(); return; }
    act(control.dataset.do, work());
  });

  document.addEventListener("input", event => {
    const form = event.target.closest("form.answer");
    const out = form && form.querySelector("output.sum");
    if (!out) return;
    const given = sum(form);
    out.textContent = given === null ? "" : `sum ${Math.round(100 * given) / 100}`;
  });

  window.addEventListener("beforeunload", event => { if (outbox.length) event.preventDefault(); });
  window.addEventListener("pageshow", event => { if (event.persisted) location.reload(); });  // an old copy of the page

  if (work().dataset.token) prefetch(); else next = null;
  document.body.classList.add("ready");
})();
