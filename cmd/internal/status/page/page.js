"use strict";
// Draws the daemon's own value, and asks for it again. All that comes from it is put in as
// text: leases are written by other hosts.
const every = 5000, most = 200;
const $ = id => document.getElementById(id);

function el(name, text, cls) {
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  if (cls) e.className = cls;
  return e;
}

function svg(name, attrs) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [k, v] of Object.entries(attrs)) e.setAttribute(k, v);
  return e;
}

function ago(then, now) {
  if (!then) return "";
  const s = Math.max(0, Math.round((new Date(now) - new Date(then)) / 1000));
  if (s < 120) return s + " s";
  if (s < 7200) return Math.round(s / 60) + " min";
  if (s < 172800) return Math.round(s / 3600) + " h";
  return Math.round(s / 86400) + " days";
}

function amount(n) {
  const unit = ["", "k", "M", "G", "T"];
  let i = 0;
  while (n >= 1000 && i < 4) { n /= 1000; i++; }
  return (n < 10 && i ? n.toFixed(1) : Math.round(n)) + " " + unit[i];
}

function text(e, value) { if (e.textContent !== value) e.textContent = value; } // or a screen reader says it again

function facts(s) {
  const l = s.lease || {}, b = s.backend || {}, u = s.underlay || {};
  const rows = [
    ["Lease", [l.subnet, l.subnetV6].filter(Boolean).join(" ") + (l.state ? " " + l.state + " for " + ago(l.since, s.time) : " none yet")],
    ["Expires", l.reserved ? "never: it is a reservation" : l.expires ? "in " + ago(s.time, l.expires) + " unless it is renewed" : "—"],
    ["Backend", b.type ? [b.type, b.path && "(" + b.path + ")", b.device, b.mtu && "MTU " + b.mtu].filter(Boolean).join(" ") : "—"],
    ["Interface", u.interface ? [u.interface, u.address, u.addressV6, "MTU " + u.mtu].filter(Boolean).join(" ") : "—"],
    ["etcd", ["API " + (s.etcd.api || "not known yet"), s.etcd.lastAnswer && "answered " + ago(s.etcd.lastAnswer, s.time) + " ago"].filter(Boolean).join(", ")],
  ];
  $("facts").replaceChildren(...rows.flatMap(([k, v]) => [el("dt", k), el("dd", v)]));
  const names = {etcd: "etcd", config: "Configuration", datapath: "Datapath", firewall: "Firewall", subnetFile: "Subnet file", dockerBridge: "Docker's bridge", forwarding: "Forwarding"};
  $("parts").replaceChildren(...Object.entries(names).map(([k, name]) => {
    const c = s[k], li = el("li");
    li.append(el("b", c.state, c.state), " " + name + " ", el("small", c.since ? "for " + ago(c.since, s.time) : ""));
    if (c.reason) li.append(el("div", c.reason));
    return li;
  }));
}

function network(s) {
  const n = s.network;
  $("meter").hidden = !n;
  text($("use"), n ? n.leases + " of " + n.subnets + " subnets of " + n.network + " are leased (" + Math.round(100 * n.leases / n.subnets) + " %)" : "Not known yet.");
  if (n) $("meter").value = Math.min(1, n.leases / n.subnets);
}

function traffic(s) {
  const t = s.traffic || [], rates = {rxBytes: [], txBytes: []};
  for (let i = 1; i < t.length; i++) {
    const took = (new Date(t[i].time) - new Date(t[i - 1].time)) / 1000;
    for (const k in rates) rates[k].push(took > 0 && t[i][k] >= t[i - 1][k] ? (t[i][k] - t[i - 1][k]) / took : 0);
  }
  const n = rates.rxBytes.length, top = Math.max(1, ...rates.rxBytes, ...rates.txBytes);
  const line = (k, cls) => svg("path", {class: cls, d: rates[k].map((v, i) => (i ? "L" : "M") + (n > 1 ? 600 * i / (n - 1) : 0).toFixed(1) + " " + (116 - 110 * v / top).toFixed(1)).join("")});
  $("traffic").replaceChildren(...(n > 1 ? [line("rxBytes", "rx"), line("txBytes", "tx")] : []));
  text($("rates"), n ? "Received " + amount(rates.rxBytes[n - 1]) + "B/s, sent " + amount(rates.txBytes[n - 1]) + "B/s; at most " + amount(top) + "B/s in the last " + ago(t[0].time, s.time) + "; " + t[n].dropped + " packets dropped." :
    s.backend && s.backend.device ? "Nothing is known yet." : "This backend has no device of its own.");
}

function hosts(s) {
  const p = s.peers, list = p.list || [];
  text($("counts"), p.programmed + " of " + p.wanted + " are forwarded to" +
    [["pending", "waiting"], ["failed", "refused by the kernel"], ["skipped", "out of this backend's reach"], ["ignored", "ignored"], ["kept", "kept though etcd has lost them"]]
      .map(([k, what]) => p[k] ? "; " + p[k] + " " + what : "").join("") + ".");
  $("peers").replaceChildren(...list.map(h => {
    const tr = el("tr"); // roles, since a table that is drawn as a list on a phone has none
    tr.setAttribute("role", "row");
    tr.dataset.state = h.state;
    for (const [name, value, cls] of [["", h.state, h.state], ["subnet", h.subnet], ["host", h.publicIP], ["path", h.path], ["for", ago(h.since, s.time)], ["", h.reason]]) {
      const td = el("td", value || "", cls);
      td.setAttribute("role", "cell");
      if (name && value) td.dataset.name = name;
      tr.append(td);
    }
    return tr;
  }));
  text($("omitted"), p.omitted ? "and " + p.omitted + " more, which are no worse" : "");
  const all = [], n = list.length;
  list.forEach((h, i) => {
    const ring = Math.floor(i / 60), on = Math.min(60, n - 60 * ring), a = 2 * Math.PI * (i % 60) / on - Math.PI / 2, r = 92 - 22 * ring;
    const x = r * Math.cos(a), y = r * Math.sin(a), good = h.state === "programmed", size = n > 60 ? 2.5 : 5;
    const g = svg("g", {class: h.state});
    if (good) g.append(svg("line", {x1: 0, y1: 0, x2: x, y2: y}));
    // Not by the colour alone: what is not reached is a square, without a line.
    g.append(good ? svg("circle", {cx: x, cy: y, r: size}) : svg("rect", {x: x - size, y: y - size, width: 2 * size, height: 2 * size}));
    const title = svg("title", {});
    title.textContent = h.subnet + " " + (h.publicIP || "") + " " + h.state;
    g.append(title);
    all.push(g);
  });
  all.push(svg("circle", {class: "me", cx: 0, cy: 0, r: 9}));
  $("picture").replaceChildren(...all);
}

function journal(id, list, now) {
  $(id).replaceChildren(...(list || []).slice().reverse().map(e => {
    const li = el("li"), time = el("time", ago(e.time, now) + " ago");
    time.dateTime = e.time;
    li.append(time, " ", el("b", e.level, e.level), " " + (e.part ? e.part + " " : "") + e.text + (e.count > 1 ? " (" + e.count + " times)" : ""));
    return li;
  }));
  if (!list || !list.length) $(id).replaceChildren(el("li", "Nothing."));
}

// What is wrong though the host may be ready, as flannelctl has it.
function trouble(s) {
  return ["etcd", "config", "datapath", "firewall", "subnetFile", "dockerBridge", "forwarding"].some(k => ["failing", "degraded"].includes(s[k].state)) ||
    s.lease && s.lease.state === "at risk" || s.etcd.watchFailing || s.peers.kept > 0;
}

function draw(s) {
  const bad = s.ready && trouble(s);
  document.title = (s.ready ? bad ? "trouble: " : "" : "not ready: ") + "flanneld " + (s.lease && s.lease.subnet || "");
  text($("subnet"), s.lease && s.lease.subnet || "");
  text($("ready"), s.ready ? bad ? "ready, with trouble" : "ready" : "not ready");
  $("ready").className = "badge " + (s.ready ? bad ? "degraded" : "ok" : "failing");
  text($("text"), s.text);
  facts(s);
  network(s);
  traffic(s);
  hosts(s);
  journal("errors", s.errors, s.time);
  journal("events", s.events, s.time);
  text($("daemon"), "flanneld " + (s.version || "") + ", process " + s.pid + ", up " + ago(s.started, s.time) + (s.etcdPrefix ? ", " + s.etcdPrefix : ""));
}

let answered = Date.now();
async function refresh() {
  if (!document.hidden) {
    try {
      const r = await fetch("v1/status?peers=" + most, {signal: AbortSignal.timeout(every)});
      if (!r.ok) throw new Error("it answers " + r.status);
      draw(await r.json());
      answered = Date.now();
      $("stale").hidden = true;
    } catch (e) {
      $("stale").hidden = false;
      text($("stale"), "The daemon does not answer; what is below may be old.");
    }
  }
  setTimeout(refresh, every);
}
document.addEventListener("visibilitychange", () => { if (!document.hidden && Date.now() - answered > every) location.reload(); });
refresh();
