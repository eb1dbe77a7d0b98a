// Uses the API through types that were generated from its OpenAPI document, as
// an application would: an allocation is made, read, changed and deleted, calls
// are listed, and what is refused is refused. tsc proves that the types allow
// this, node that the server answers so.
//
// Arguments: the server's address, tenant, Account SID, token, a virtual number.
import assert from "node:assert/strict";

import createClient from "openapi-fetch";

import type { components, paths } from "../../../api/openapi.js";

type Allocation = components["schemas"]["Allocation"];

const [server, tenant, sid, token, virtual] = process.argv.slice(2);
assert(server && tenant && sid && token && virtual, "five arguments");

const basic = (user: string, password: string) => "Basic " + Buffer.from(user + ":" + password).toString("base64");
const client = (password: string) => createClient<paths>({ baseUrl: server, headers: { Authorization: basic(sid, password) } });
const api = client(token);
const own = { path: { tenant_id: tenant } };
const from = "+919900000001", to = "+918800000002", another = "+917700000003";

// Create, under a key: the repeat is the same allocation.
const order = { caller_id_number: virtual, from: [from], to: [to], duration: 3600, custom_field: "order 7" };
const ask = () => api.POST("/v1/tenants/{tenant_id}/greenvn", { params: { ...own, header: { "Idempotency-Key": "smoke-1" } }, body: order });
const created = (await ask()).data?.response;
assert(created, "created");
assert.equal(created.virtual_number, virtual);
assert.deepEqual([created.from, created.to, created.status], [[from], [to], "active"]);
assert.equal(Date.parse(created.expires_at) - Date.parse(created.created_at), 3600_000);
assert.equal((await ask()).data?.response.greenvn_id, created.greenvn_id);

// Read.
const one = { params: { path: { tenant_id: tenant, greenvn_id: created.greenvn_id } } };
const read = async (): Promise<Allocation> => {
  const { data, response } = await api.GET("/v1/tenants/{tenant_id}/greenvn/{greenvn_id}", one);
  assert(data, "read");
  assert.match(response.headers.get("X-Request-Id") ?? "", /^req_/);
  return data.response;
};
assert.equal((await read()).call_count, 0);

// Update: what is left out stays.
const changed = await api.PUT("/v1/tenants/{tenant_id}/greenvn/{greenvn_id}/call-party", { ...one, body: { to: [another] } });
assert.deepEqual(changed.data?.response.to, [another]);
assert.deepEqual((await read()).from, [from]);

// A refusal has a code of a closed list, and names the field.
const refused = await api.POST("/v1/tenants/{tenant_id}/greenvn", { params: own, body: { ...order, caller_id_number: "+15550100" } });
assert.equal(refused.response.status, 400);
const code: components["schemas"]["ProblemDetail"]["code"] | undefined = refused.error?.error.code;
assert.equal(code, "virtual_number_not_in_pool");
assert.equal(refused.error?.error.field, "caller_id_number");

// Delete, and again.
const remove = () => api.DELETE("/v1/tenants/{tenant_id}/greenvn/{greenvn_id}", one);
const deleted = (await remove()).data?.response;
assert.equal(deleted?.status, "deleted");
assert.equal((await remove()).data?.response.deleted_at, deleted?.deleted_at);
assert.equal((await read()).end_reason, "api");

// Lists.
const all = await api.GET("/v1/tenants/{tenant_id}/greenvn", { params: { ...own, query: { status: "deleted", limit: 10 } } });
assert.deepEqual(all.data?.response.items.map((a) => a.greenvn_id), [created.greenvn_id]);
const calls = await api.GET("/v1/tenants/{tenant_id}/calls", { params: { ...own, query: { answered: "true" } } });
assert.deepEqual([calls.data?.response.items, calls.data?.response.next_cursor], [[], ""]);

// A wrong token.
const stranger = await client(token + "x").GET("/v1/tenants/{tenant_id}/calls", { params: own });
assert.equal(stranger.response.status, 401);
assert.equal(stranger.error?.error.code, "unauthorized");
assert.match(stranger.response.headers.get("WWW-Authenticate") ?? "", /^Basic /);

// What the document does not know, the compiler does not let through.
// @ts-expect-error: there is no such operation
void (() => api.GET("/v1/tenants/{tenant_id}/nothing", { params: own }));
// @ts-expect-error: a body needs its parties
void (() => api.POST("/v1/tenants/{tenant_id}/greenvn", { params: own, body: { caller_id_number: virtual } }));
// @ts-expect-error: a misspelt field
const misspelt: components["schemas"]["CreateBody"] = { ...order, duraton: 60 };
// @ts-expect-error: no such status
const status: Allocation["status"] = "expired";
assert(status && misspelt);

console.log("ok");
