// Shows /v1/status and /v1/commands. Everything that comes from the cluster is set as text, never as
// markup.
"use strict";

const EVERY_MS = 2000;
const COMMANDS_EVERY = 15;

const find = (id) => document.getElementById(id);

function make(name, text, style) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (style) element.className = style;
  return element;
}

const pill = (text, style) => make("span", text, "pill " + style);

function cell(content, style) {
  const element = make("td", undefined, style);
  element.append(content);
  return element;
}

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) { bytes /= 1024; unit += 1; }
  return (unit && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)) + " " + units[unit];
}

const count = (number) => number.toLocaleString("en");
const HEALTH = { ok: "good", lagging: "warn", no_space: "warn", quarantined: "bad", unreachable: "bad" };

function showMembers(rows) {
  const last = Math.max(1, ...rows.map((row) => row.last_log));
  find("members").tBodies[0].replaceChildren(...rows.map((row) => {
    const line = make("tr");
    const known = (text) => (row.reachable ? text : "–");
    const applied = make("span", known(count(row.applied)));
    if (row.reachable) {
      const bar = make("progress");
      bar.max = last;
      bar.value = row.applied;
      bar.title = count(last - row.applied) + " entries behind";
      applied.append(bar);
    }
    line.append(
      cell(String(row.id), "number"), cell(make("code", row.address)),
      cell(row.leader ? pill("leader", "good") : known(row.role)),
      cell(known(String(row.term)), "number"), cell(applied),
      cell(known(row.checkpoint ? count(row.checkpoint) : "–"), "number"),
      cell(make("code", known(row.digest.slice(0, 8) || "–"))),
      cell(known(size(row.data_bytes)), "number"), cell(known(row.version)),
      cell(pill(row.health.replace("_", " "), HEALTH[row.health] || "")));
    return line;
  }));
}

let before;

function showFigures(rows) {
  const leader = rows.find((row) => row.leader);
  const applied = Math.max(...rows.map((row) => row.applied));
  const now = performance.now();
  const rate = before ? Math.max(0, (applied - before.applied) * 1000 / (now - before.at)) : 0;
  before = { applied, at: now };
  const healthy = rows.filter((row) => row.health === "ok").length;
  const figures = [
    ["Leader", leader ? "node " + leader.id : "none"],
    ["Healthy members", healthy + " of " + rows.length],
    ["Entries applied", count(applied)],
    ["Entries a second", rate < 10 ? rate.toFixed(1) : count(Math.round(rate))],
    ["Term", String(Math.max(...rows.map((row) => row.term)))],
    ["Data, largest node", size(Math.max(...rows.map((row) => row.data_bytes)))],
  ];
  find("figures").replaceChildren(...figures.map(([name, value]) => {
    const figure = make("div", undefined, "figure");
    figure.append(make("span", name, "quiet"), make("b", value));
    return figure;
  }));
  const state = find("state");
  const style = !leader ? "bad" : healthy === rows.length ? "good" : "warn";
  state.className = "pill " + style;
  state.textContent = { good: "healthy", warn: "degraded", bad: "no leader" }[style];
  document.title = "hostd – " + state.textContent;
}

function showPlugins(rows) {
  const source = rows.find((row) => row.leader) || rows.find((row) => row.reachable);
  const plugins = source ? source.plugins : [];
  const cards = plugins.map((plugin) => {
    const card = make("div", undefined, "plugin");
    card.append(make("b", plugin.name), make("span", plugin.version, "quiet"),
      make("code", plugin.digest.slice(0, 16)));
    return card;
  });
  find("plugins").replaceChildren(...(cards.length ? cards : [make("span", "none installed", "quiet")]));
}

let commands = [];

function showCommands() {
  const wanted = find("filter").value.trim().toLowerCase();
  const fits = (command) => (command.plugin + " " + command.usage + " " + command.summary).toLowerCase().includes(wanted);
  find("commands").tBodies[0].replaceChildren(...commands.filter(fits).map((command) => {
    const line = make("tr");
    line.append(cell(command.plugin), cell(make("code", command.usage), "wide"),
      cell(pill(command.access, command.access === "write" ? "warn" : "")), cell(command.summary, "wide"));
    return line;
  }));
}

async function fetched(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(path + ": " + answer.status + " " + answer.statusText);
  return answer.json();
}

let rounds = 0;

async function refresh() {
  try {
    const rows = await fetched("/v1/status");
    showFigures(rows);
    showMembers(rows);
    showPlugins(rows);
    if (rounds % COMMANDS_EVERY === 0) {
      commands = await fetched("/v1/commands");
      showCommands();
    }
    rounds += 1;
    find("seen").textContent = "as of " + new Date().toLocaleTimeString();
  } catch (error) {
    const state = find("state");
    state.className = "pill bad";
    state.textContent = "this node does not answer";
    find("seen").textContent = String(error.message || error);
  }
  setTimeout(refresh, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}

find("filter").addEventListener("input", showCommands);
refresh();
