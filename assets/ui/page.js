// Light and dark: follow the system until the visitor chooses, then remember.
(() => {
  const KEY = "genius-theme";
  const paint = (dark) => document.body && document.body.classList.toggle("dark", dark);
  const chosen = () => { try { return localStorage.getItem(KEY); } catch { return null; } };
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-switch]")) return;
    const dark = !document.body.classList.contains("dark");
    paint(dark);
    try { localStorage.setItem(KEY, dark ? "dark" : "light"); } catch { /* private window */ }
  });
  // Gradio sets the class itself while it starts; a remembered choice comes after that.
  const settle = () => chosen() && paint(chosen() === "dark");
  const watch = () => {
    settle();
    new MutationObserver(() => {
      if (document.querySelector(".g-head")) settle();
    }).observe(document.body, { childList: true, subtree: false });
    setTimeout(settle, 400);
    setTimeout(settle, 1500);
  };
  if (document.body) watch(); else document.addEventListener("DOMContentLoaded", watch);
})();

// On a narrow screen the results lie below the form: bring them into view once they are there.
window.geniusShowResults = () => {
  const answer = document.querySelector("#answer");
  if (answer && answer.getBoundingClientRect().top > innerHeight * 0.6) {
    answer.scrollIntoView({ behavior: "smooth", block: "start" });
  }
};
window.geniusAskMore = () => {
  const field = document.querySelector("#query-text textarea, #query-text input");
  if (!field) return;
  field.scrollIntoView({ behavior: "smooth", block: "nearest" });
  field.focus({ preventScroll: true });
};

// What draws maps and charts is large: it comes when the page is there and idle, before its tabs are opened.
(() => {
  const fetchIt = () => {
    const script = document.createElement("script");
    script.src = window.geniusPlotly;
    document.head.append(script);
  };
  const idle = () => (window.requestIdleCallback ? requestIdleCallback(fetchIt, { timeout: 2000 }) : setTimeout(fetchIt, 500));
  if (document.readyState === "complete") idle(); else window.addEventListener("load", idle);
})();
