/* What a script adds to pages that work without one: confirmations in a dialog, menus that close, copying, a busy button,
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

  /* A form is sent once; it may be sent again when that led nowhere. */
  const sent = new WeakSet();
  const free = (form, button) => { sent.delete(form); button?.removeAttribute("aria-busy"); };
  document.addEventListener("submit", (event) => {
    const form = event.target, button = event.submitter;
    if (event.defaultPrevented || form.method !== "post") return;
    if (sent.has(form)) { event.preventDefault(); return; }
    sent.add(form);
    button?.setAttribute("aria-busy", "true");
    setTimeout(free, BUSY_MS, form, button);
    addEventListener("pageshow", () => free(form, button), { once: true });
  });

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
