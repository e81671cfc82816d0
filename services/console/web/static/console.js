// Marks the page as out of date when a refresh fails, so that old numbers are not taken for new ones. A hidden page is not
// refreshed until it is shown again.
(function () {
  "use strict";
  var box;
  function stale() {
    if (box) return;
    box = document.createElement("p");
    box.className = "stale";
    box.setAttribute("role", "alert");
    box.textContent = "The console does not answer. This page is out of date.";
    document.body.insertBefore(box, document.body.firstChild);
  }
  function fresh() {
    if (box) box.remove();
    box = null;
  }
  document.addEventListener("htmx:sendError", stale);
  document.addEventListener("htmx:timeout", stale);
  document.addEventListener("htmx:responseError", stale);
  document.addEventListener("htmx:afterOnLoad", function (e) {
    if (e.detail.successful) fresh();
  });
  document.addEventListener("htmx:beforeRequest", function (e) {
    if (document.hidden && !e.detail.requestConfig.triggeringEvent) e.preventDefault(); // a poll has no event
  });
  document.addEventListener("visibilitychange", function () {
    if (!document.hidden) document.dispatchEvent(new CustomEvent("visible"));
  });
})();
