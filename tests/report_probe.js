// Looks at the page of `duo report` from within, for tests/test_report.sh: every figure and table is
// there and to be seen, texts of a plot stay in it, are readable and do not cover each other, nothing
// was fetched. What is wrong is listed; "looked" says that the probe came to its end.
const wrong = [];
const say = (what) => wrong.push(what.replace(/[;<>&\n]/g, " "));
window.addEventListener("error", (e) => say("error " + e.message));

const lightness = (colour) => {
	const c = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	c.fillStyle = colour;
	c.fillRect(0, 0, 1, 1);
	const part = [...c.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => {
		v /= 255;
		return v <= 0.04045 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4);
	});
	return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
};
const contrast = (a, b) => {
	const [x, y] = [lightness(a), lightness(b)].sort((p, q) => q - p);
	return (x + 0.05) / (y + 0.05);
};

const figures = [...document.querySelectorAll("figure")];
if (figures.length !== 7) say(figures.length + " figures");
for (const figure of figures) {
	const name = figure.className, svg = figure.querySelector("svg");
	const card = getComputedStyle(figure).backgroundColor;
	if (!svg) { say(name + " has no svg"); continue; }
	const frame = svg.getBoundingClientRect();
	if (frame.width < 300 || frame.height < 150) say(name + " is small: " + frame.width + " x " + frame.height);
	if (svg.querySelectorAll("path, use, polygon").length < 10) say(name + " is empty");
	const boxes = [];
	for (const text of svg.querySelectorAll("text")) {
		const r = text.getBoundingClientRect(), words = text.textContent;
		if (!words.trim()) continue;
		if (r.left < frame.left - 1 || r.right > frame.right + 1 || r.top < frame.top - 1 || r.bottom > frame.bottom + 1)
			say(name + ": '" + words + "' leaves the plot");
		const c = contrast(getComputedStyle(text).fill, card);
		if (c < 3) say(name + ": contrast of '" + words + "' is " + c.toFixed(2));
		/* A line's height has room above and below the letters. */
		const inset = r.height * 0.2;
		for (const o of boxes)
			if (r.left < o.r.right && o.r.left < r.right && r.top + inset < o.r.bottom - inset && o.r.top + inset < r.bottom - inset)
				say(name + ": '" + words + "' covers '" + o.words + "'");
		boxes.push({ r, words });
	}
}
const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
if (new Set(ids).size !== ids.length) say("an id twice");
const tables = [...document.querySelectorAll("table")];
if (tables.length !== 6) say(tables.length + " tables");
for (const table of tables) {
	const n = table.rows[0].cells.length;
	if (table.rows.length < 2 || [...table.rows].some((r) => r.cells.length !== n)) say("a table is not whole");
}
if (document.documentElement.scrollWidth > innerWidth + 1) say("the page is wider than the window");
if (performance.getEntriesByType("resource").length) say("something was fetched");
if (document.querySelectorAll("script").length !== 1 || document.images.length) say("elements made of names");
const body = getComputedStyle(document.body);
if (contrast(body.color, body.backgroundColor) < 7) say("contrast of the text");
if (lightness(body.backgroundColor) < 0.2) document.documentElement.setAttribute("data-dark", "1");
const answer = document.querySelector(".answer figure").getBoundingClientRect();
if (innerWidth > 1000 && answer.bottom > innerHeight) say("the answer's plot ends at " + answer.bottom + ", below the first screen of " + innerHeight);
const pre = document.createElement("pre");
pre.id = "found";
pre.textContent = [...wrong, "looked"].join(";");
document.body.append(pre);
