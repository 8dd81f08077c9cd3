// openapi.mjs: is the file given an OpenAPI document, and does every reference in it lead somewhere?
import SwaggerParser from "@apidevtools/swagger-parser";

const api = await SwaggerParser.validate(process.argv[2]);
const seen = new Set();
let calls = 0;
for (const item of Object.values(api.paths)) {
    for (const [verb, call] of Object.entries(item).filter(([v]) => v !== "parameters")) {
        if (seen.has(call.operationId))
            throw new Error(`${call.operationId} stands there twice`);
        seen.add(call.operationId);
        calls += ["get", "post", "patch", "delete"].includes(verb) ? 1 : 0;
    }
}
console.log(JSON.stringify({version: api.openapi, calls}));
