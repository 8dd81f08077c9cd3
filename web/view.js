// view.js: console.html, the console of a guest: its screen by RFB, its serial line as a terminal.
//
//   ?uuid=   of a VM, or of one of its consoles
//   ?text    begin with the serial line
//
// document.body.dataset.state: login, connecting, connected, halted, missing, failed; tests and
// screen readers follow it.
import RFB from "@novnc/novnc";
import {FitAddon} from "@xterm/addon-fit";
import {Terminal} from "@xterm/xterm";

import {ask, element, follow, session, showWho, stateClass} from "./common.js";

const at = id => document.getElementById(id);
const asked = new URLSearchParams(location.search);

let vm = null; // as REST shows it
let consoles = {}; // by protocol: "rfb", "vt100"
let kind = null; // of the console that is open
let line = null; // what is connected: {close(), type(text)}
let retry = 0;
let retryTimer = 0;

function setState(state) {
    document.body.dataset.state = state;
}

function notice(title, text, ...buttons) {
    at("notice").replaceChildren(element("div", {class: "card"}, element("h2", {}, title),
        element("p", {}, text), ...buttons));
    at("notice").hidden = false;
}

function socketUrl(uuid) {
    return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/console?uuid=${uuid}`;
}

// ---- the screen ----

function openScreen(uuid, lost) {
    at("screen").replaceChildren();
    const rfb = new RFB(at("screen"), socketUrl(uuid), {shared: true, wsProtocols: ["binary"]});
    rfb.scaleViewport = true;
    rfb.background = "#0b0d10";
    rfb.addEventListener("connect", () => connected());
    rfb.addEventListener("disconnect", () => lost());
    rfb.addEventListener("securityfailure", () => lost());
    return {
        close: () => rfb.disconnect(),
        focus: () => rfb.focus(),
        ctrlAltDel: () => rfb.sendCtrlAltDel(),
        type: text => {
            for (const c of text)
                rfb.sendKey(c === "\n" ? 0xff0d : c.codePointAt(0) < 0x100
                    ? c.codePointAt(0) : 0x01000000 | c.codePointAt(0), null);
        },
    };
}

// ---- the serial line ----

function openTerminal(uuid, lost) {
    at("terminal").replaceChildren();
    const terminal = new Terminal({
        cursorBlink: true, fontSize: 15, scrollback: 5000,
        fontFamily: '"DejaVu Sans Mono", "Liberation Mono", Menlo, Consolas, monospace',
        theme: {background: "#0b0d10"}});
    const fit = new FitAddon();
    terminal.loadAddon(fit);
    terminal.open(at("terminal"));
    fit.fit();
    const resized = new ResizeObserver(() => fit.fit());
    resized.observe(at("terminal"));

    const socket = new WebSocket(socketUrl(uuid), ["binary"]);
    socket.binaryType = "arraybuffer";
    const encoder = new TextEncoder();
    const type = text => socket.readyState === WebSocket.OPEN && socket.send(encoder.encode(text));
    let wanted = true;
    terminal.onData(type);
    socket.onopen = () => connected();
    socket.onmessage = e => terminal.write(new Uint8Array(e.data));
    socket.onclose = () => {
        resized.disconnect();
        if (wanted)
            lost();
    };
    return {
        close: () => {
            wanted = false;
            socket.close();
            terminal.dispose();
        },
        focus: () => terminal.focus(),
        type: text => type(text.replaceAll("\n", "\r")),
    };
}

// ---- connecting ----

function connected() {
    retry = 0;
    at("notice").hidden = true;
    setState("connected");
    line.focus();
}

function disconnect() {
    clearTimeout(retryTimer);
    const old = line;
    line = null;
    if (old)
        old.close();
}

/** The connection ended: perhaps the guest did, perhaps the network; look, and try again. */
function lost(which) {
    if (which !== line || !line)
        return;
    line = null;
    setState("connecting");
    notice("Connection lost", "Trying again …");
    retryTimer = setTimeout(look, Math.min(500 * 2 ** retry++, 10000));
}

function connect() {
    disconnect();
    const uuid = consoles[kind];
    at("graphic").classList.toggle("on", kind === "rfb");
    at("text").classList.toggle("on", kind === "vt100");
    at("screen").hidden = kind !== "rfb";
    at("terminal").hidden = kind !== "vt100";
    at("cad").hidden = kind !== "rfb";
    setState("connecting");
    const opened = {};
    Object.assign(opened, (kind === "rfb" ? openScreen : openTerminal)(uuid, () => lost(opened)));
    line = opened;
}

function choose(wanted) {
    kind = wanted;
    at("notice").hidden = true;
    connect();
}

// ---- the guest ----

async function startGuest(event) {
    event.target.disabled = true;
    const action = vm.power_state === "Suspended" ? "resume" : "start";
    try {
        await ask("POST", `${vm.href}/${action}`, {});
    } catch (e) {
        notice("The guest does not start", e.message);
    }
}

function showVm() {
    document.title = `${vm.name_label} – console`;
    at("name").textContent = vm.name_label;
    at("state").textContent = vm.power_state;
    at("state").className = `badge ${stateClass(vm.power_state)}`;
    at("state").hidden = false;
}

function showHalted() {
    disconnect();
    setState("halted");
    at("tools").hidden = true;
    at("screen").hidden = at("terminal").hidden = true;
    const may = ["start", "resume"].some(o => vm.allowed_operations.includes(o));
    notice(`“${vm.name_label}” is not running`,
        `It is ${vm.power_state.toLowerCase()}. Its console opens here when it starts.`,
        may ? element("button", {class: "main", id: "start", click: startGuest},
            vm.power_state === "Suspended" ? "Resume" : "Start") : null);
}

async function findConsoles() {
    const found = await Promise.all(vm.consoles.map(href => ask("GET", href)));
    consoles = {};
    for (const c of found)
        consoles[c.protocol] = c.uuid;
    at("graphic").hidden = !consoles.rfb;
    at("text").hidden = !consoles.vt100;
    at("tools").hidden = false;
}

/** Looks at the guest as it is now, and connects if it is not connected. */
async function look() {
    try {
        vm = await ask("GET", vm.href);
    } catch (e) {
        setState(e.status === 404 ? "missing" : "failed");
        notice(e.status === 404 ? "The guest is gone" : "The host does not answer", e.message,
            element("button", {click: () => location.reload()}, "Try again"));
        return;
    }
    showVm();
    if (vm.power_state !== "Running" && vm.power_state !== "Paused") {
        showHalted();
        return;
    }
    if (line)
        return;
    await findConsoles();
    if (!consoles[kind])
        kind = asked.has("text") && consoles.vt100 ? "vt100" : consoles.rfb ? "rfb" : "vt100";
    if (consoles[kind]) {
        connect();
    } else {
        setState("failed");
        notice("No console", "This guest has neither a screen nor a serial line.");
    }
}

/** The guest that the address names, by its own uuid or by one of its consoles'. */
async function find(uuid) {
    try {
        return await ask("GET", `/vms/${uuid}`);
    } catch (e) {
        if (e.status !== 404)
            throw e;
    }
    const found = await ask("GET", `/consoles/${uuid}`);
    kind = found.protocol;
    return ask("GET", found.VM);
}

async function main() {
    showWho(document.querySelector("header"), await session(at("stage")));
    setState("connecting");
    const uuid = asked.get("uuid");
    try {
        if (!uuid)
            throw new Error("The address has to name a guest: /console.html?uuid=…");
        vm = await find(uuid);
    } catch (e) {
        setState("missing");
        notice("There is no such guest", uuid ? `Nothing here has the uuid ${uuid}.` : e.message,
            element("a", {class: "button", href: "/"}, "All guests"));
        return;
    }
    follow(["vms"], (what, event) => {
        if (what === "lost" || (event.ref === vm.ref && (!event.object
            || event.object.power_state !== vm.power_state)))
            look();
    });
    await look();
}

at("graphic").addEventListener("click", () => choose("rfb"));
at("text").addEventListener("click", () => choose("vt100"));
at("cad").addEventListener("click", () => line && line.ctrlAltDel && line.ctrlAltDel());
at("paste").addEventListener("click", async () => {
    const text = navigator.clipboard ? await navigator.clipboard.readText().catch(() => "") : "";
    const typed = text || prompt("Text to type into the guest:") || "";
    if (line)
        line.type(typed);
});
at("full").addEventListener("click", () => document.fullscreenElement
    ? document.exitFullscreen() : at("stage").requestFullscreen());

main();
