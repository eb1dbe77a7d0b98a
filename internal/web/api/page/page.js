// Reads /openapi.json and writes it out for people. Everything is put in as
// text, never as markup.
"use strict";

const methods = ["get", "post", "put", "patch", "delete"];

function el(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}

function resolve(spec, schema) {
  while (schema && schema.$ref) schema = spec.components.schemas[schema.$ref.split("/").pop()];
  return schema || {};
}

function typeOf(spec, schema) {
  const s = resolve(spec, schema);
  const type = Array.isArray(s.type) ? s.type.join(" or ") : s.type || "any";
  return type === "array" ? "list of " + typeOf(spec, s.items) : type;
}

function limits(schema) {
  const out = [];
  if (schema.enum) out.push("one of " + schema.enum.join(", "));
  if (schema.minimum !== undefined) out.push("at least " + schema.minimum);
  if (schema.maximum !== undefined) out.push("at most " + schema.maximum);
  if (schema.minItems !== undefined) out.push("at least " + schema.minItems + " items");
  if (schema.maxItems !== undefined) out.push("at most " + schema.maxItems + " items");
  if (schema.maxLength !== undefined) out.push("at most " + schema.maxLength + " characters");
  if (schema.pattern) out.push("matches " + schema.pattern);
  return out.join("; ");
}

// rows lists the fields of an object, nested ones with their path.
function rows(spec, schema, prefix, required) {
  const s = resolve(spec, schema);
  const out = [];
  if (s.type === "array") return rows(spec, s.items, prefix + "[].", required);
  for (const [name, raw] of Object.entries(s.properties || {})) {
    const property = resolve(spec, raw);
    const needed = required && (s.required || []).includes(name);
    out.push(el("tr", {},
      el("td", {}, el("code", needed ? { class: "required" } : {}, prefix + name)),
      el("td", {}, typeOf(spec, raw)),
      el("td", {}, [raw.description || property.description, limits(property)].filter(Boolean).join(" · "))));
    const inner = property.type === "array" ? resolve(spec, property.items) : property;
    if (inner.properties) out.push(...rows(spec, inner, prefix + name + (property.type === "array" ? "[]." : "."), required));
  }
  return out;
}

function table(title, body) {
  if (body.length === 0) return null;
  return el("div", {}, el("h3", {}, title), el("table", {}, el("tbody", {}, ...body)));
}

function parameters(op) {
  return (op.parameters || []).map((p) => el("tr", {},
    el("td", {}, el("code", p.required ? { class: "required" } : {}, p.name)),
    el("td", {}, p.in),
    el("td", {}, [p.description || (p.schema || {}).description, limits(p.schema || {})].filter(Boolean).join(" · "))));
}

function schemaOf(holder) {
  const media = holder && holder.content && holder.content["application/json"];
  return media ? media.schema : null;
}

// files says which bodies are no JSON, and what they are.
function files(title, holder) {
  const names = Object.keys((holder || {}).content || {}).filter((name) => name !== "application/json");
  return names.length ? el("p", {}, title + ": " + [names.join(", "), holder.description].filter(Boolean).join(" · ")) : null;
}

function operation(spec, path, method, op) {
  const success = Object.keys(op.responses).find((code) => code.startsWith("2"));
  const request = schemaOf(op.requestBody);
  const response = schemaOf(op.responses[success]);
  const who = (op.security || []).flatMap((s) => Object.keys(s)).map((name) => spec.components.securitySchemes[name].description);
  return el("section", { id: op.operationId },
    el("h2", {}, op.summary || op.operationId),
    el("p", {}, el("span", { class: "method" }, method.toUpperCase()), " ", el("span", { class: "path" }, path)),
    who.length ? el("p", {}, "Credentials: " + who.join(", ")) : null,
    table("Parameters", parameters(op)),
    request ? table("Request body", rows(spec, request, "", true)) : files("Request body", op.requestBody),
    response ? table("Answer " + success, rows(spec, response, "", false)) : files("Answer " + success, op.responses[success]),
    el("p", {}, "Other statuses: " + Object.keys(op.responses).filter((c) => c !== success).join(", ")));
}

async function show() {
  const main = document.getElementById("operations");
  const index = document.getElementById("index");
  try {
    const spec = await (await fetch("/openapi.json")).json();
    document.getElementById("about").textContent = spec.info.description || "";
    main.replaceChildren();
    const groups = new Map();
    for (const [path, item] of Object.entries(spec.paths)) {
      for (const method of methods.filter((m) => item[m])) {
        const op = item[method];
        const tag = (op.tags || ["Other"])[0];
        if (!groups.has(tag)) groups.set(tag, []);
        groups.get(tag).push([path, method, op]);
      }
    }
    for (const [tag, entries] of groups) {
      index.append(el("h3", {}, tag));
      for (const [path, method, op] of entries) {
        index.append(el("a", { href: "#" + op.operationId }, op.summary || op.operationId));
        main.append(operation(spec, path, method, op));
      }
    }
    main.append(el("section", { id: "errors" }, el("h2", {}, "Errors"), table("Every error", rows(spec, { $ref: "#/components/schemas/Problem" }, "", false))));
    if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  } catch (problem) {
    main.textContent = "The document could not be read: " + problem.message;
  }
}

show();
