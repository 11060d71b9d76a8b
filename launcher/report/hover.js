// Shows the values under the pointer in a corner of the chart. The page is complete without this script.
for (const chart of document.querySelectorAll(".chart")) {
  const { range, unit, axis, lines } = JSON.parse(chart.querySelector("script").textContent);
  const plot = chart.querySelector(".plot"), cursor = chart.querySelector(".cursor");
  const readout = chart.querySelector(".readout");
  const digits = { maximumSignificantDigits: 5 };
  const text = (value) => (unit === "%" ? `${(100 * value).toLocaleString("en-US", digits)} %` : value.toLocaleString("en-US", digits));
  const nearest = (points, x) =>
    points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const step = range[0] + share * (range[1] - range[0]);
    const values = lines.map(({ name, points }) => {
      const [, mean, low, high] = nearest(points, step);
      return `${name}  ${text(mean)}${low === undefined ? "" : `  (${text(low)} to ${text(high)})`}`;
    });
    readout.textContent = [`${axis} ${Math.round(step).toLocaleString("en-US")}`, ...values].join("\n");
    readout.style.cssText = share < 0.5 ? "right:0" : "left:0";
    cursor.style.left = `${100 * share}%`;
    cursor.hidden = readout.hidden = false;
  });
  plot.addEventListener("pointerleave", () => {
    cursor.hidden = readout.hidden = true;
  });
}
