"use strict";
// Renders /openapi.json. Every text goes in as text, never as HTML.

const METHODS = ["get", "post", "put", "patch", "delete"];

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

function resolve(spec, node) {
  return node && node.$ref ? node.$ref.split("/").slice(1).reduce((at, part) => at[part], spec) : node;
}

// A schema with its references put in place, a few levels deep, for people to read.
function readable(spec, schema, depth = 0) {
  if (Array.isArray(schema)) return schema.map((each) => readable(spec, each, depth));
  if (schema === null || typeof schema !== "object") return schema;
  if (schema.$ref) return depth > 6 ? schema.$ref : readable(spec, resolve(spec, schema), depth + 1);
  return Object.fromEntries(
    Object.entries(schema).filter(([key]) => key !== "title").map(([key, value]) => [key, readable(spec, value, depth + 1)]));
}

// A first guess at a body.
function example(spec, schema, depth = 0) {
  schema = resolve(spec, schema) || {};
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  const choice = schema.anyOf || schema.oneOf;
  if (choice) return example(spec, choice[0], depth + 1);
  if (schema.type === "object" || schema.properties) {
    const names = schema.required || [];
    return depth > 4 ? {} : Object.fromEntries(names.map((name) => [name, example(spec, (schema.properties || {})[name], depth + 1)]));
  }
  if (schema.type === "array") return schema.minItems ? [example(spec, schema.items, depth + 1)] : [];
  if (schema.type === "integer" || schema.type === "number") return schema.minimum || 0;
  if (schema.type === "boolean") return false;
  if (schema.format === "date-time") return new Date().toISOString();
  return schema.type === "string" ? "" : {};
}

function parameters(spec, operation) {
  const rows = (operation.parameters || []).map((each) => resolve(spec, each)).filter((each) => each.name !== "Orderwire-Tenant");
  const inputs = new Map();
  const table = element("table", {}, ...rows.map((each) => {
    const input = element("input", { "aria-label": each.name, placeholder: each.required ? "required" : "" });
    inputs.set(each, input);
    return element("tr", {}, element("td", {}, element("code", {}, each.name)), element("td", { class: "dim" }, each.in),
      element("td", {}, input), element("td", { class: "dim" }, each.description || ""));
  }));
  return [rows.length ? table : undefined, inputs];
}

async function send(path, method, inputs, body, output) {
  let url = path;
  const query = new URLSearchParams(), headers = {};
  for (const [each, input] of inputs) {
    if (each.in === "path") url = url.replace(`{${each.name}}`, encodeURIComponent(input.value));
    else if (input.value && each.in === "query") query.set(each.name, input.value);
    else if (input.value && each.in === "header") headers[each.name] = input.value;
  }
  const key = document.getElementById("key").value, tenant = document.getElementById("tenant").value;
  if (key) headers.authorization = `Bearer ${key}`;
  if (tenant) headers["orderwire-tenant"] = tenant;
  if (body) headers["content-type"] = "application/json";
  const suffix = query.size ? `?${query}` : "";
  try {
    const answer = await fetch(url + suffix, { method: method.toUpperCase(), headers, body: body ? body.value : undefined });
    const text = await answer.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it is */ }
    output.textContent = `${answer.status} ${answer.statusText}\n${shown}`;
  } catch (error) {
    output.textContent = String(error);
  }
}

function call(spec, path, method, operation) {
  const details = element("details", { "data-words": `${method} ${path} ${operation.summary || ""}`.toLowerCase() },
    element("summary", {}, element("span", { class: `method ${method}` }, method.toUpperCase()),
      element("span", { class: "path" }, path), " ", element("span", { class: "dim" }, operation.summary || "")));
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    const [table, inputs] = parameters(spec, operation);
    const content = operation.requestBody && Object.values(operation.requestBody.content)[0];
    const body = content && element("textarea", { rows: 8, "aria-label": "body" });
    if (body) body.value = JSON.stringify(example(spec, content.schema), null, 2);
    const output = element("pre", { hidden: "" });
    const answers = Object.entries(operation.responses || {}).map(([status, each]) => {
      const kind = each.content && Object.values(each.content)[0];
      return element("details", {}, element("summary", {}, `${status} `, element("span", { class: "dim" }, each.description || "")),
        kind ? element("pre", {}, JSON.stringify(readable(spec, kind.schema), null, 2)) : undefined);
    });
    const streams = operation.operationId === "live_watch";
    details.append(element("p", {}, operation.description || ""), table || "",
      ...(body ? [element("details", {}, element("summary", {}, "Body"), element("pre", {}, JSON.stringify(readable(spec, content.schema), null, 2))), body] : []),
      streams ? "" : element("p", {}, element("button", { onclick: () => { output.hidden = false; send(path, method, inputs, body, output); } }, "Send")),
      output, ...answers);
  });
  return details;
}

async function main() {
  const spec = await (await fetch("/openapi.json")).json();
  document.getElementById("about").textContent = `${spec.info.version}. ${spec.info.description}`;
  const groups = new Map();
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = (item[method].tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(call(spec, path, method, item[method]));
    }
  }
  const calls = document.getElementById("calls");
  for (const [tag, made] of groups) calls.append(element("section", {}, element("h2", {}, tag), ...made));
  document.getElementById("search").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase();
    for (const each of calls.querySelectorAll("details[data-words]")) each.hidden = !each.dataset.words.includes(words);
  });
}

main();
