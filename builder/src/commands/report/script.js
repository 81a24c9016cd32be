// Looking into a package of the map. Without this the page says the same in tooltips and tables.
(() => {
  const map = document.getElementById("map");
  const info = document.getElementById("info");
  if (!map || !info) return;
  const rest = "Click a package to look into it.";
  const out = () => map.querySelector(".box.zoomed")?.classList.remove("zoomed");
  info.textContent = rest;
  map.addEventListener("pointerover", (event) => {
    const at = event.target.closest("[title]");
    info.textContent = at ? at.title : rest;
  });
  map.addEventListener("pointerleave", () => { info.textContent = rest; });
  map.addEventListener("click", (event) => {
    const box = event.target.closest(".box");
    if (!box) return;
    const was = box.classList.contains("zoomed");
    out();
    if (!was) box.classList.add("zoomed");
    map.classList.toggle("zoom", !was);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { out(); map.classList.remove("zoom"); }
  });
  map.classList.add("live");
})();
