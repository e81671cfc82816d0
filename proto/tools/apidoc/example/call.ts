type RequestRow = { requestId: string; companyName?: string; record?: string; reason?: string };

const answer = await fetch(`${process.env.TIEBACK_URL}/tieback.operator.v1.RequestService/ListRequests`, {
  method: "POST",
  headers: { Authorization: `Bearer ${process.env.TIEBACK_TOKEN}`, "Content-Type": "application/json" },
  body: JSON.stringify({ states: ["attention", "failed"], categories: ["export"], pageSize: 20 }),
});
if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
const { requests = [] } = (await answer.json()) as { requests?: RequestRow[] };
for (const r of requests) console.log(r.requestId, r.companyName ?? "", r.record ?? "", r.reason ?? "");

export {};
