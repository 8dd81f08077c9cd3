// index.js: the guests of this host, with their consoles.
import {ask, element, follow, session, showWho, stateClass} from "./common.js";

const main = document.getElementById("main");
const FIELDS = "uuid,name_label,name_description,power_state,allowed_operations,is_a_template,"
    + "is_control_domain,is_a_snapshot";
const guests = new Map();

const ACTIONS = [["start", "Start"], ["resume", "Resume"], ["clean_shutdown", "Shut down"]];

async function act(vm, action, button) {
    button.disabled = true;
    try {
        await ask("POST", `${vm.href}/${action}`, {});
    } catch (e) {
        alert(e.message);
    }
}

function row(vm) {
    const buttons = ACTIONS.filter(([name]) => vm.allowed_operations.includes(name)).map(
        ([name, label]) => element("button", {click: e => act(vm, name, e.target)}, label));
    const open = vm.power_state === "Running" || vm.power_state === "Paused"
        ? element("a", {class: "button", href: `/console.html?uuid=${vm.uuid}`}, "Console") : null;
    const cell = element("td", {class: "right"});
    for (const b of [...buttons, open].filter(Boolean))
        cell.append(b, " ");
    return element("tr", {"data-uuid": vm.uuid},
        element("td", {}, element("strong", {}, vm.name_label),
            element("div", {class: "type who"}, vm.name_description)),
        element("td", {}, element("span", {class: `badge ${stateClass(vm.power_state)}`}, vm.power_state)),
        cell);
}

function show() {
    const list = [...guests.values()].sort((a, b) => a.name_label.localeCompare(b.name_label));
    main.replaceChildren(list.length
        ? element("table", {}, element("thead", {}, element("tr", {}, element("th", {}, "Guest"),
            element("th", {}, "State"), element("th", {}))), element("tbody", {}, ...list.map(row)))
        : element("div", {class: "empty"}, "There are no guests on this host."));
    document.body.dataset.state = "ready";
}

function isGuest(vm) {
    return !vm.is_a_template && !vm.is_control_domain && !vm.is_a_snapshot;
}

async function load() {
    guests.clear();
    for (let path = `/vms?limit=1000&fields=${FIELDS}`; path;) {
        const page = await ask("GET", path);
        page.items.filter(isGuest).forEach(vm => guests.set(vm.ref, vm));
        path = page.next;
    }
    show();
}

function told(kind, event) {
    if (kind === "lost") {
        load();
    } else {
        if (event.object && isGuest(event.object))
            guests.set(event.ref, event.object);
        else
            guests.delete(event.ref);
        show();
    }
}

showWho(document.querySelector("header"), await session(main));
const host = (await ask("GET", "/hosts?fields=name_label")).items[0];
document.getElementById("host").textContent = host ? host.name_label : "";
follow(["vms"], told);
await load();
