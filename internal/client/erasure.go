package client

import (
	"context"
	"net/http"
)

// Erasure is the receipt of a person's number's removal.
type Erasure struct {
	ErasureID  string         `json:"erasure_id"`
	Status     string         `json:"status"` // "running" or "done"
	Waiting    int            `json:"waiting"`
	Removed    map[string]int `json:"removed"`
	Kept       []string       `json:"kept,omitempty"` // where the number stays: "blocked_callers"
	CreatedAt  string         `json:"created_at"`
	FinishedAt string         `json:"finished_at"`
}

// NewErasure asks for an erasure.
type NewErasure struct {
	Number string `json:"number"`
	Force  bool   `json:"force,omitempty"` // end the active allocations that the number stands in
}

// Erase begins to remove a number from what a tenant keeps.
func (c *Client) Erase(ctx context.Context, tenant string, in NewErasure, calls ...Call) (Erasure, error) {
	return do[Erasure](ctx, c, asTenant, request{method: http.MethodPost, path: []string{"tenants", tenant, "erasures"}, body: in, calls: calls})
}

// Erasure reads a receipt.
func (c *Client) Erasure(ctx context.Context, tenant, id string) (Erasure, error) {
	return do[Erasure](ctx, c, asTenant, request{method: http.MethodGet, path: []string{"tenants", tenant, "erasures", id}})
}

// Erasures reads a page of receipts, newest first; of one number, if it is not "".
func (c *Client) Erasures(ctx context.Context, tenant, number string, at Page) (List[Erasure], error) {
	q := at.query()
	put(q, "number", number)
	return do[List[Erasure]](ctx, c, asTenant, request{method: http.MethodGet, path: []string{"tenants", tenant, "erasures"}, query: q})
}
