// Opens a console of net/served with the npm package ws, plain and under TLS, and expects back what
// it sends. Prints one line of JSON a connection.  node ws.mjs PORT TLS-PORT
import WebSocket from "ws";

const [port, tlsPort] = process.argv.slice(2);
const pieces = Array.from({ length: 50 }, (_, i) => Buffer.alloc(50000, i));
const sent = Buffer.concat(pieces);

function run(url) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, ["base64", "binary"], { rejectUnauthorized: false });
    const got = [];
    let size = 0;
    socket.on("error", reject);
    socket.on("open", () => pieces.forEach((piece) => socket.send(piece)));
    socket.on("message", (data) => {
      got.push(data);
      size += data.length;
      if (size >= sent.length) socket.close(1000);
    });
    socket.on("close", (code) => {
      const same = Buffer.concat(got).equals(sent);
      resolve({ scheme: new URL(url).protocol, protocol: socket.protocol, same, code });
    });
  });
}

for (const url of [`ws://127.0.0.1:${port}`, `wss://127.0.0.1:${tlsPort}`]) {
  console.log(JSON.stringify(await run(`${url}/console?uuid=1`)));
}
