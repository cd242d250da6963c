// What a program does with the generated TypeScript types: `node story.js URL PASSWORD`. It holds, or ends with an error.
import createClient from "openapi-fetch";
import type { components, paths } from "./client.js";

declare const process: { argv: string[] };

type Run = components["schemas"]["GraphRun"];
type Frame = components["schemas"]["GraphFrame"];
const [url, password] = process.argv.slice(2);
const ENDED: Run["status"][] = ["done", "failed", "error", "cancelled"];

function holds(claim: boolean, told: unknown): asserts claim {
  if (!claim) throw new Error(JSON.stringify(told));
}

const stranger = createClient<paths>({ baseUrl: url });
const signed = await stranger.POST("/api/v2/auth/login", { body: { username: "admin", password } });
holds(signed.data !== undefined, signed.error);
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${signed.data.token}` } });

async function start(graph_id: string, inputs: Record<string, unknown>): Promise<string> {
  const { data, error } = await client.POST("/v1/runs", { body: { graph_id, inputs } });
  holds(data !== undefined, error);
  return data.run_id;
}

async function until(run_id: string, good: (run: Run) => boolean): Promise<Run> {
  for (const end = Date.now() + 30_000; Date.now() < end; ) {
    const { data, error } = await client.GET("/v1/runs/{run_id}", { params: { path: { run_id } } });
    holds(data !== undefined, error);
    if (good(data)) return data;
    await new Promise((go) => setTimeout(go, 10));
  }
  throw new Error(`${run_id} does not get there`);
}

async function frames(run_id: string): Promise<Frame[]> {
  const { data } = await client.GET("/v1/runs/{run_id}/events", { params: { path: { run_id } }, parseAs: "text" });
  holds(data !== undefined, run_id);
  const told = data.split("\n").filter((line) => line.startsWith("data: "));
  return told.map((line) => JSON.parse(line.slice(6)) as Frame);
}

const asked = await start("graph:ask", {});
const waiting = await until(asked, (run) => run.status === "awaiting-input");
holds(waiting.awaiting?.prompt === "Shall it be baked?", waiting);
const path = { run_id: asked };
const answered = await client.POST("/v1/runs/{run_id}/respond", { params: { path }, body: { response: { decision: "no" } } });
holds(answered.error === undefined, answered.error);
await until(asked, (run) => ENDED.includes(run.status));
const told = await frames(asked);
holds(told[0].type === "waiting_for_input" && told[told.length - 1].type === "result", told);

const run_id = await start("graph:loop", { n: 0 });
await until(run_id, (run) => ENDED.includes(run.status));
const fork = await client.POST("/v1/runs/{run_id}/counterfactual", {
  params: { path: { run_id } },
  body: { step: 1, mutation: { state_overrides: { phase: "stop" } } },
});
holds(fork.data?.parent_run_id === run_id, fork.error);
await until(fork.data.run_id, (run) => run.status === "done");
const list = await client.GET("/v1/runs", { params: { query: { graph_id: "graph:loop", limit: 1 } } });
holds(list.data?.total === 2 && list.data.items[0].run_id === fork.data.run_id, list);

const unknown = await client.GET("/v1/runs/{run_id}", { params: { path: { run_id: "nobody" } } });
holds(unknown.response.status === 404 && unknown.error?.detail === "run 'nobody' not found", unknown);
const wrong = await client.GET("/v1/runs", { params: { query: { limit: 0 } } });
const detail = wrong.error?.detail;
holds(Array.isArray(detail) && detail[0].loc[1] === "limit", wrong);
