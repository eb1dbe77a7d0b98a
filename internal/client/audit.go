package client

import (
	"context"
	"net/http"
	"net/url"
)

// AuditEntry is one entry of the audit log.
type AuditEntry struct {
	Sequence     int64  `json:"sequence"`
	Time         string `json:"time"`
	Actor        string `json:"actor"`
	TenantID     string `json:"tenant_id"`
	Action       string `json:"action"`
	Object       string `json:"object"`
	Outcome      string `json:"outcome"`
	RequestID    string `json:"request_id"`
	PreviousHash string `json:"previous_hash"`
	Hash         string `json:"hash"`
}

// AuditHead tells which entry is the last.
type AuditHead struct {
	Sequence int64  `json:"sequence"`
	Hash     string `json:"hash"`
}

// AuditQuery narrows a list of entries; empty fields do not.
type AuditQuery struct {
	TenantID string // the operator's list only; a tenant sees his own
	Action   string
	Since    string // RFC 3339
	Until    string
	Oldest   bool // oldest first; else newest first
}

func (q AuditQuery) values(at Page) url.Values {
	v := at.query()
	put(v, "tenant_id", q.TenantID)
	put(v, "action", q.Action)
	put(v, "since", q.Since)
	put(v, "until", q.Until)
	if q.Oldest {
		v.Set("order", "oldest")
	}
	return v
}

// Audit reads a page of the audit log, as the operator.
func (c *Client) Audit(ctx context.Context, q AuditQuery, at Page) (List[AuditEntry], error) {
	return do[List[AuditEntry]](ctx, c, asOperator, request{method: http.MethodGet, path: admin("audit"), query: q.values(at)})
}

// OwnAudit reads a page of the entries about a tenant, as he.
func (c *Client) OwnAudit(ctx context.Context, tenant string, q AuditQuery, at Page) (List[AuditEntry], error) {
	q.TenantID = ""
	return do[List[AuditEntry]](ctx, c, asTenant, request{method: http.MethodGet, path: []string{"tenants", tenant, "audit"}, query: q.values(at)})
}

// AuditHead reads which entry is the last.
func (c *Client) AuditHead(ctx context.Context) (AuditHead, error) {
	return do[AuditHead](ctx, c, asOperator, request{method: http.MethodGet, path: admin("audit", "head")})
}
