/* What a script adds to pages that work without one: confirmations in a dialog, menus that close, copying, a busy button, progress,
   filters that follow a choice. On pages with navigation only. Whatever fails here, the page goes on as it would without. */
"use strict";
(() => {
  const BUSY_MS = 10000, COPIED_MS = 3000;
  // An address that ends so is a page that asks before it acts.
  const ASKS = /\/(revoke|revoke-others|remove|unlink|disconnect|leave|delete|restore)$/;
  const find = (selector, root = document) => root.querySelector(selector);

  /* Menus: one open at a time; Escape and a click elsewhere close it. */
  const openMenus = () => document.querySelectorAll("details.menu[open]");
  const closeMenus = (but) => openMenus().forEach((menu) => { if (menu !== but) menu.open = false; });
  document.addEventListener("click", (event) => closeMenus(event.target.closest("details.menu")));
  document.addEventListener("keydown", (event) => {
    const menu = openMenus()[0];
    if (event.key !== "Escape" || !menu || find("dialog[open]")) return;
    menu.open = false;
    find("summary", menu).focus();
  });

  /* Copying: the button is shown where there is a clipboard, which needs https or this machine. */
  const said = document.createElement("p");
  said.className = "sr";
  said.setAttribute("role", "status");
  if (navigator.clipboard) {
    document.querySelectorAll("[data-copy]").forEach((button) => {
      const source = find("[data-copy-source]", button.parentElement), label = find("span", button) || button;
      if (!source) return;
      const text = label.textContent;
      let timer;
      button.hidden = false;
      button.addEventListener("click", () => navigator.clipboard.writeText(source.textContent.trim()).then(() => {
        clearTimeout(timer);
        label.textContent = said.textContent = button.dataset.copied;
        document.body.append(said);
        timer = setTimeout(() => { label.textContent = text; said.textContent = ""; }, COPIED_MS);
      }, () => getSelection().selectAllChildren(source)));
    });
  }

  /* A page that the browser kept is asked for again: it may show a secret for the second time, or what is no longer this person's. What was
     typed comes back for the same person, secrets aside, as it does where the browser itself asks again; so does all of a form that was
     refused. */
  const person = () => find("header .top-end")?.textContent;
  const fields = () => document.querySelectorAll("main form :is(input, select, textarea):not([type=hidden], [type=password], [autocomplete=off])");
  const isChoice = (field) => field.type === "radio" || field.type === "checkbox";
  const isTyped = (field) => isChoice(field) ? field.checked !== field.defaultChecked
    : field.options ? [...field.options].some((option) => option.selected !== option.defaultSelected) : field.value !== field.defaultValue;
  addEventListener("pageshow", (event) => {
    if (event.persisted) {
      const isRefused = find("main > .note:is(.danger, .warn)[role]");
      const typed = Array.from(fields(), (field) => (isRefused || isTyped(field)) && [field.name, field.value, field.checked]);
      document.body.hidden = true;
      history.replaceState({ person: person(), typed }, "");
      location.reload();
    } else if (performance.getEntriesByType("navigation")[0]?.type === "back_forward") {
      document.querySelectorAll("textarea[autocomplete=off]").forEach((secret) => { secret.value = ""; });  // some browsers fill it in again
    }
  });
  if (history.state?.typed) {
    if (history.state.person === person()) fields().forEach((field, at) => {
      const [name, value, checked] = history.state.typed[at] || [];
      if (name !== field.name) return;
      if (!isChoice(field)) field.value = value;
      else if (field.value === value) field.checked = checked;
    });
    history.replaceState(null, "");
  }

  /* A form is sent once, and its button says what is being done; it may be sent again when that led nowhere. */
  const sent = new WeakSet();
  const free = (form, button, label, words) => {
    sent.delete(form);
    button?.removeAttribute("aria-busy");
    if (words) label.replaceChildren(...words);
  };
  document.addEventListener("submit", (event) => {
    const form = event.target, button = event.submitter;
    if (event.defaultPrevented || form.method !== "post") return;
    if (sent.has(form)) { event.preventDefault(); return; }
    sent.add(form);
    button?.setAttribute("aria-busy", "true");
    const act = button?.dataset.busy, label = button && (find("span", button) || button), words = act && [...label.childNodes];
    if (act) label.textContent = act;
    const over = () => free(form, button, label, words);
    setTimeout(over, BUSY_MS);
    addEventListener("pageshow", over, { once: true });
  });

  /* Progress: the block of what goes on, asked for again until it is over; not while nobody looks. */
  let run = find('[data-run=""]'), lost = 0;
  const began = Date.now(), later = () => setTimeout(look, Date.now() - began < 30000 ? 2000 : 5000);
  const look = async () => {
    if (document.hidden) { document.addEventListener("visibilitychange", look, { once: true }); return; }
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html", "X-Fragment": "run" } });
      if (!answer.ok || answer.redirected) throw new Error("no answer");
      lost = 0;
      if (answer.status === 204) { later(); return; }
      const fresh = find("[data-run]", new DOMParser().parseFromString(await answer.text(), "text/html")), had = run.contains(document.activeElement);
      run.replaceWith(fresh);
      run = fresh;
      if (had) { run.tabIndex = -1; run.focus(); }
      if (!run.dataset.run) later();
    } catch {
      if (++lost < 3) later();
      else find("[role=status]", run).textContent = run.dataset.lost;
    }
  };
  if (run) later();

  /* A filter follows the choice. */
  document.addEventListener("change", (event) => {
    const form = event.target.form;
    if (event.target.matches("select") && form?.method === "get") form.requestSubmit();
  });

  /* Confirmation: the page that asks, in a dialog. */
  const ask = async (link) => {
    const answer = await fetch(link.href, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const main = find("main", page), heading = find("h1", main), safe = find("form[method=post] .acts a.btn", main);
    if (!answer.ok || answer.redirected || !safe || find(".btn-stop", main)?.form !== safe.closest("form")) throw new Error("no question");
    const dialog = document.createElement("dialog"), inside = document.createElement("div"), title = document.createElement("h2");
    dialog.className = "dialog";
    inside.className = "dialog-in";
    title.id = "dialog-title";
    title.append(...heading.childNodes);
    (heading.closest(".head") || heading).replaceWith(title);
    dialog.setAttribute("aria-labelledby", title.id);
    inside.append(...main.childNodes);
    dialog.append(inside);
    safe.addEventListener("click", (event) => { event.preventDefault(); dialog.close(); });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("close", () => { dialog.remove(); link.focus(); });
    document.body.append(dialog);
    dialog.showModal();
    safe.focus();
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    if (link.origin !== location.origin || !ASKS.test(link.pathname) || !window.HTMLDialogElement || find("dialog[open]")) return;
    event.preventDefault();
    if (link.ariaBusy === "true") return;
    link.ariaBusy = "true";
    ask(link).catch(() => location.assign(link.href)).finally(() => { link.ariaBusy = null; });
  });

  /* What the last action did is read out first. */
  const result = find("main > .note[role=status]");
  if (result && !find("[autofocus]")) { result.tabIndex = -1; result.focus(); }
})();
