(() => {
  "use strict";
  const styles = getComputedStyle(document.documentElement);
  // Colors are CSS variables; they get the value of the current theme, light or dark
  const resolved = (value) => {
    if (typeof value === "string") {
      const name = /^var\((--[a-z0-9-]+)\)$/.exec(value);
      return name ? styles.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map(resolved);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, resolved(inner)]));
  };
  const options = { responsive: true, displaylogo: false, displayModeBar: false, doubleClick: false };
  const draw = () => {
    for (const box of document.querySelectorAll(".plot")) {
      const figure = resolved(JSON.parse(document.getElementById(box.dataset.figure).textContent));
      Plotly.react(box, figure.data, figure.layout, options);
    }
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
