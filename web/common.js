// common.js: what all pages share: asking the host, logging in, making elements.

export const ROOT = "/rest/v1";

/** A refusal of the host: a problem as in RFC 9457. */
export class Problem extends Error {
    constructor(status, body) {
        super(body.detail || body.title || `HTTP ${status}`);
        this.status = status;
        this.code = body.code || "";
    }
}

/** One request; gives the reply's JSON, or null. The session is a cookie. */
export async function ask(method, path, body) {
    const url = path.startsWith(ROOT) ? path : ROOT + path;
    const headers = {Accept: "application/json", "X-Requested-With": "page"};
    if (body !== undefined)
        headers["Content-Type"] = "application/json";
    const reply = await fetch(url, {
        method, headers, body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await reply.text();
    if (!reply.ok)
        throw new Problem(reply.status, text.startsWith("{") ? JSON.parse(text) : {});
    return text ? JSON.parse(text) : null;
}

/** element("p", {class: "quiet"}, "text", child, …); a function as attribute is a listener. */
export function element(name, attributes = {}, ...children) {
    const e = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
        if (typeof value === "function")
            e.addEventListener(key, value);
        else if (value !== false && value !== undefined)
            e.setAttribute(key, value === true ? "" : value);
    }
    e.append(...children.filter(c => c !== null && c !== undefined));
    return e;
}

function loginForm(done) {
    const user = element("input", {name: "user", autocomplete: "username", value: "root", required: true});
    const password = element("input", {
        name: "password", type: "password", autocomplete: "current-password"});
    const problem = element("p", {class: "problem", role: "alert"});
    const submit = async event => {
        event.preventDefault();
        problem.textContent = "";
        try {
            const session = await ask("POST", "/session", {
                user: user.value, password: password.value, originator: "web page"});
            done(session);
        } catch (e) {
            problem.textContent = e.status === 401 ? "The name or the password is wrong." : e.message;
            password.select();
        }
    };
    return element("form", {class: "card", id: "login", submit},
        element("h2", {}, "Log in"), element("p", {}, location.host),
        element("label", {}, "Name", user), element("label", {}, "Password", password), problem,
        element("button", {class: "main", type: "submit"}, "Log in"));
}

/** The session of the cookie; if there is none, asks for name and password in `place`. */
export async function session(place) {
    try {
        return await ask("GET", "/session");
    } catch (e) {
        if (e.status !== 401)
            throw e;
    }
    document.body.dataset.state = "login";
    return new Promise(resolve => {
        const form = loginForm(found => {
            form.remove();
            resolve(found);
        });
        place.append(form);
        form.querySelector("[name=password]").focus();
    });
}

export function showWho(place, found) {
    place.append(element("span", {class: "who"}, found.user), element("button", {
        id: "logout", click: async () => {
            await ask("DELETE", "/session").catch(() => {});
            location.reload();
        }}, "Log out"));
}

/** Follows the events of some collections; gives the EventSource. */
export function follow(collections, told) {
    const source = new EventSource(`${ROOT}/events?collections=${collections.join(",")}`);
    for (const kind of ["add", "mod", "del"])
        source.addEventListener(kind, e => told(kind, JSON.parse(e.data)));
    source.addEventListener("lost", () => told("lost", null));
    return source;
}

/** The colour of a power state. */
export function stateClass(state) {
    return {Running: "good", Paused: "warn", Suspended: "warn"}[state] || "";
}
