// pages.mjs: the pages of a host in a headless Chromium, one start for all of them.
//
//   node pages.mjs URL PASSWORD RUNNING HALTED SHOTS      uuids of two guests; a folder for pictures
//
// Says what it saw as one line of JSON; the test judges.
import {chromium} from "playwright-core";

const [url, password, running, halted, shots] = process.argv.slice(2);
const seen = {errors: [], elsewhere: []};

const browser = await chromium.launch({executablePath: "/usr/bin/chromium", args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"]});
const page = await browser.newPage({viewport: {width: 1100, height: 700}});
page.setDefaultTimeout(60000);
page.on("pageerror", e => seen.errors.push(e.message));
page.on("request", r => new URL(r.url()).host !== new URL(url).host && !r.url().startsWith("data:")
    && !r.url().startsWith("blob:") && seen.elsewhere.push(r.url()));
page.on("console", m => /Content Security Policy/.test(m.text()) && seen.errors.push(m.text()));
// So that a connection can be broken below the page's feet.
await page.addInitScript(() => {
    window.sockets = [];
    window.WebSocket = new Proxy(window.WebSocket, {construct(target, args) {
        const socket = new target(...args);
        window.sockets.push(socket);
        return socket;
    }});
});
const state = name => page.waitForSelector(`body[data-state=${name}]`);

/** Waits until the canvas shows something: pixels that are not of the darkest colour. */
async function pixels() {
    const canvas = page.locator("#screen canvas");
    await page.waitForFunction(() => {
        const c = document.querySelector("#screen canvas");
        const d = c && c.width ? c.getContext("2d").getImageData(0, 0, c.width, c.height).data : [];
        let lit = 0;
        for (let i = 0; i < d.length; i += 4)
            lit += d[i] > 100 && d[i + 1] > 100 && d[i + 2] > 100;
        return lit > 200;
    });
    return canvas.evaluate(c => [c.width, c.height]);
}

/** Breaks the console's connection; says how many there have been once it stands again. */
async function broken() {
    const notice = await page.evaluate(() => new Promise(done => {
        const shown = document.getElementById("notice");
        const watch = new MutationObserver(() => {
            if (document.body.dataset.state !== "connecting" || shown.hidden)
                return;
            watch.disconnect();
            done(shown.innerText);
        });
        watch.observe(document.body, {attributes: true, childList: true, subtree: true});
        window.sockets.at(-1).close();
    }));
    await state("connected");
    return [notice, await page.evaluate(() => window.sockets.length)];
}

/** The text of the terminal, once it has as much of `what` as was asked for. */
async function text(what, count) {
    await page.waitForFunction(([w, n]) => (document.querySelector(".xterm-rows")?.innerText || "")
        .split(w).length > n, [what, count]);
    return page.locator(".xterm-rows").innerText();
}

try {
    // A wrong password, then the right one; the screen of a guest.
    await page.goto(`${url}/console.html?uuid=${running}`);
    await page.fill("#login [name=password]", "wrong");
    await page.click("#login button");
    await page.waitForSelector("#login .problem:not(:empty)");
    seen.refusal = await page.locator("#login .problem").innerText();
    await page.fill("#login [name=password]", password);
    await page.click("#login button");
    await state("connected");
    seen.screen = await pixels();
    seen.title = await page.title();

    // The picture of /vncsnapshot is of the size of the screen, and as bright.
    seen.snapshot = await page.evaluate(async uuid => {
        const reply = await fetch(`/vncsnapshot?uuid=${uuid}`);
        const picture = await createImageBitmap(await reply.blob());
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [picture.width, picture.height];
        canvas.getContext("2d").drawImage(picture, 0, 0);
        const lit = c => {
            const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
            return d.filter((v, i) => i % 4 === 1 && v > 100).length;
        };
        return {type: reply.headers.get("content-type"), size: [canvas.width, canvas.height],
            lit: lit(canvas), shown: lit(document.querySelector("#screen canvas"))};
    }, running);
    await page.screenshot({path: `${shots}/screen.png`});

    // Its serial line; Ctrl+Alt+Del on the screen begins it anew.
    await page.click("#text");
    await state("connected");
    seen.text = await text(".", 70);
    await page.screenshot({path: `${shots}/text.png`});
    await page.click("#graphic");
    await state("connected");
    await pixels();
    await page.click("#cad");
    await page.click("#text");
    await state("connected");
    seen.again = await text("B.", 1);

    // What breaks is connected again, the serial line and the screen.
    const before = await page.evaluate(() => window.sockets.length);
    seen.broken = [await broken()];
    await page.click("#graphic");
    await state("connected");
    await pixels();
    seen.broken.push(await broken());
    await pixels();
    seen.opened = seen.broken.map(([, n]) => n - before);

    // A guest that does not run; it is started from its page, and its console opens.
    await page.goto(`${url}/console.html?uuid=${halted}`);
    await state("halted");
    seen.halted = await page.locator("#notice").innerText();
    await page.screenshot({path: `${shots}/halted.png`});
    await page.click("#start");
    await state("connected");
    seen.started = await pixels();
    await page.evaluate(path => fetch(path, {method: "POST", body: "{}",
        headers: {"Content-Type": "application/json"}}), `/rest/v1/vms/${halted}/hard_shutdown`);
    await state("halted");
    await page.goto(`${url}/console.html?uuid=00000000-0000-0000-0000-000000000000`);
    await state("missing");

    // The list of guests, and the API browser.
    await page.goto(`${url}/`);
    await state("ready");
    seen.guests = await page.locator("tbody tr").evaluateAll(rows => rows.map(r => r.dataset.uuid));
    await page.goto(`${url}/api.html#VM.get_all_records`);
    await state("ready");
    await page.fill("#p-filter", `uuid=${running}`);
    await page.click("#send");
    await page.waitForSelector("body[data-answered='200']");
    seen.listed = JSON.parse(await page.locator("#answer").innerText());
    await page.screenshot({path: `${shots}/api.png`});
    await page.goto(`${url}/api.html#VM.clone`);
    await page.fill("#find", "hard_shut");
    seen.found = await page.locator("#calls a").evaluateAll(a => a.map(e => e.getAttribute("href")));
    await page.click("#logout");
    await page.waitForSelector("#login");
} finally {
    console.log(JSON.stringify(seen));
    await browser.close();
}
