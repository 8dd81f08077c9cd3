// api.js: the API browser: every call of openapi.json, and a form to try it on this host.
import {ROOT, element, session, showWho} from "./common.js";

const at = id => document.getElementById(id);
const VERBS = ["get", "post", "patch", "delete"];
let description = null;
let calls = []; // {verb, path, op, tag}

function deref(part) {
    while (part && part.$ref)
        part = part.$ref.slice(2).split("/").reduce((o, k) => o[k], description);
    return part;
}

/** "array of VM", "string, one of …" */
function typeName(schema) {
    if (!schema)
        return "";
    if (schema.$ref) {
        const target = deref(schema);
        return target.enum ? target.enum.join(" | ") : schema.$ref.split("/").pop();
    }
    if (schema.anyOf)
        return schema.anyOf.map(typeName).join(" or ");
    const type = [schema.type].flat().join(" or ");
    if (schema.type === "array")
        return `array of ${typeName(schema.items)}`;
    if (schema.type === "object" && schema.additionalProperties)
        return `object of ${typeName(schema.additionalProperties)}`;
    return schema.format ? `${type} (${schema.format})` : type || "any";
}

/** A value to begin with, of what has to be given. */
function example(schema) {
    const s = deref(schema);
    if (s.default !== undefined)
        return s.default;
    if (s.enum)
        return s.enum[0];
    if (s.anyOf)
        return example(s.anyOf[0]);
    if (s.type === "object") {
        const out = {};
        for (const name of s.required || [])
            out[name] = example(s.properties[name]);
        return out;
    }
    return {array: [], boolean: false, integer: 0, number: 0, string: ""}[s.type] ?? null;
}

// ---- the lists ----

function matches(call, text) {
    return !text || `${call.verb} ${call.path} ${call.op.operationId} ${call.op.summary}`
        .toLowerCase().includes(text.toLowerCase());
}

function link(target, here, ...children) {
    return element("a", {href: target, class: here ? "here" : ""}, ...children);
}

/** #vms, or #VM.start */
function place() {
    const name = decodeURIComponent(location.hash.slice(1));
    const call = calls.find(c => c.op.operationId === name);
    return {call, tag: call ? call.tag : description.tags.some(t => t.name === name) ? name : "vms"};
}

function showLists() {
    const text = at("find").value.trim(), {call, tag} = place();
    const fitting = calls.filter(c => matches(c, text));
    const tags = [...new Set(calls.map(c => c.tag))].sort();
    at("tags").replaceChildren(...tags.map(t => {
        const n = fitting.filter(c => c.tag === t).length;
        return n ? link(`#${t}`, t === tag, t, element("span", {class: "count"}, String(n))) : null;
    }).filter(Boolean));
    const shown = text ? fitting : fitting.filter(c => c.tag === tag);
    at("calls").replaceChildren(...shown.slice(0, 300).map(c => link(`#${c.op.operationId}`, c === call,
        element("span", {class: `verb ${c.verb}`}, c.verb.toUpperCase()),
        element("span", {class: "mono"}, ...breakable(c.path)))));
}

/** Long paths may break before their words. */
function breakable(path) {
    return path.split(/(?=[/_])/).flatMap(part => [element("wbr"), part]);
}

// ---- one call ----

function inputOf(parameter) {
    const schema = deref(parameter.schema || {}), id = `p-${parameter.name}`;
    const choices = schema.enum || (schema.type === "boolean" ? ["true", "false"] : null);
    const attributes = {id, name: parameter.name, "aria-label": parameter.name};
    if (choices)
        return element("select", attributes, element("option", {value: ""}, "–"),
            ...choices.map(v => element("option", {}, v)));
    return element("input", {...attributes, placeholder: schema.default ?? ""});
}

function parameterRows(parameters) {
    return parameters.map(p => element("tr", {},
        element("td", {class: "name mono"}, p.name, p.required ? " *" : ""),
        element("td", {class: "value"}, inputOf(p)),
        element("td", {class: "type"}, p.description || typeName(p.schema))));
}

function fieldRows(schema) {
    return Object.entries(schema.properties || {}).map(([name, s]) => element("tr", {},
        element("td", {class: "name mono"}, name, (schema.required || []).includes(name) ? " *" : ""),
        element("td", {class: "type mono"}, typeName(s)),
        element("td", {class: "type"}, s.description || "")));
}

function bodyOf(call) {
    const content = deref(call.op.requestBody || {}).content;
    return content ? content["application/json"].schema : null;
}

function resultOf(call) {
    for (const status of ["200", "201"]) {
        const reply = deref(call.op.responses[status]);
        if (reply && reply.content && reply.content["application/json"])
            return reply.content["application/json"].schema;
    }
    return null;
}

async function send(call, parameters) {
    let path = call.path;
    const query = new URLSearchParams(), headers = {"X-Requested-With": "page"};
    for (const p of parameters) {
        const value = at(`p-${p.name}`).value;
        if (p.in === "path")
            path = path.replace(`{${p.name}}`, encodeURIComponent(value));
        else if (value && p.in === "query")
            query.set(p.name, value);
        else if (value)
            headers[p.name] = value;
    }
    const url = ROOT + path + (query.size ? `?${query}` : "");
    const body = at("body") ? at("body").value.trim() : "";
    if (body)
        headers["Content-Type"] = "application/json";
    at("reply").hidden = false;
    at("sent").textContent = `${call.verb.toUpperCase()} ${url}`;
    at("answer").textContent = "…";
    const began = performance.now();
    const reply = await fetch(url, {method: call.verb.toUpperCase(), headers, body: body || undefined});
    const text = await reply.text();
    const took = Math.round(performance.now() - began);
    at("status").className = `badge ${reply.ok ? "good" : "bad"}`;
    at("status").textContent = `${reply.status} ${reply.statusText} · ${took} ms`;
    at("answer").textContent = /json/.test(reply.headers.get("content-type") || "")
        ? JSON.stringify(JSON.parse(text), null, 2) : text || "(no body)";
    document.body.dataset.answered = String(reply.status);
}

function tryForm(call, parameters) {
    if (call.path === "/events")
        return [element("p", {}, "An answer without an end: ",
            element("code", {}, `curl -N -u root ${location.origin}${ROOT}/events`))];
    const body = bodyOf(call);
    return [
        body ? element("h3", {}, "Body") : null,
        body ? element("textarea", {id: "body", spellcheck: "false", "aria-label": "Body"},
            JSON.stringify(example(body), null, 2)) : null,
        element("div", {class: "try"},
            element("button", {class: "main", id: "send", click: () => send(call, parameters).catch(e => {
                at("answer").textContent = e.message;
            })}, "Send"),
            element("span", {class: "type"}, call.verb === "get" ? "" : "This is the real host.")),
        element("div", {id: "reply", hidden: true}, element("div", {class: "where"},
            element("span", {id: "status", class: "badge"}), element("code", {id: "sent"})),
            element("pre", {id: "answer"})),
    ].filter(Boolean);
}

function table(title, rows) {
    return rows.length ? [element("h3", {}, title), element("table", {}, element("tbody", {}, ...rows))] : [];
}

function errorsOf(call) {
    return (call.op["x-errors"] || []).map(code => element("tr", {},
        element("td", {class: "name mono"}, code),
        element("td", {class: "type"}, (description["x-errors"][code] || {}).description || "")));
}

function showCall() {
    const {call, tag} = place();
    delete document.body.dataset.answered;
    if (!call) {
        const about = description.tags.find(t => t.name === tag);
        at("call").replaceChildren(element("h2", {}, tag), element("p", {}, about ? about.description : ""),
            element("p", {class: "type"}, description.info.description));
        return;
    }
    const shared = description.paths[call.path].parameters || [];
    const parameters = [...shared, ...call.op.parameters || []].map(deref);
    const body = deref(bodyOf(call)), result = resultOf(call);
    const shown = deref(result), item = shown && shown.properties && shown.properties.items
        ? deref(shown.properties.items.items) : shown;
    at("call").replaceChildren(
        element("h2", {}, call.op.operationId),
        element("div", {class: "where"}, element("span", {class: `verb ${call.verb}`}, call.verb.toUpperCase()),
            element("code", {}, ROOT + call.path),
            call.op["x-role"] ? element("span", {class: "badge"}, call.op["x-role"]) : null),
        element("p", {}, call.op.description || call.op.summary),
        ...table("Parameters", parameterRows(parameters)),
        ...tryForm(call, parameters),
        ...table("Members of the body", body ? fieldRows(body) : []),
        ...table(`Result: ${typeName(result)}`, item && item.properties ? fieldRows(item) : []),
        ...table("Errors", errorsOf(call)));
    at("call").scrollTop = 0;
}

function show() {
    showLists();
    showCall();
}

async function main() {
    const browser = at("browser");
    browser.hidden = true;
    showWho(document.querySelector("header"), await session(document.body));
    description = await (await fetch("/openapi.json")).json();
    for (const [path, item] of Object.entries(description.paths))
        for (const verb of VERBS.filter(v => item[v]))
            calls.push({verb, path, op: item[verb], tag: item[verb].tags[0]});
    browser.hidden = false;
    addEventListener("hashchange", show);
    at("find").addEventListener("input", showLists);
    show();
    document.body.dataset.state = "ready";
}

main();
