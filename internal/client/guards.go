package client

import (
	"context"
	"net/http"
)

// BlockedCaller is somebody of whom a tenant lets nothing through.
type BlockedCaller struct {
	Number    string `json:"number"`
	Note      string `json:"note"`
	CreatedAt string `json:"created_at"`
}

// BlockedCallers reads a page of them, in the order of the numbers.
func (c *Client) BlockedCallers(ctx context.Context, tenant string, p Page) (List[BlockedCaller], error) {
	return do[List[BlockedCaller]](ctx, c, asTenant, request{method: http.MethodGet, path: own(tenant, "blocked-callers"), query: p.query()})
}

// BlockCallers blocks callers; of those who are blocked already it changes the note.
func (c *Client) BlockCallers(ctx context.Context, tenant string, numbers []string, note string, calls ...Call) (List[BlockedCaller], error) {
	body := map[string]any{"numbers": numbers, "note": note}
	return do[List[BlockedCaller]](ctx, c, asTenant, request{method: http.MethodPost, path: own(tenant, "blocked-callers"), body: body, calls: calls})
}

// UnblockCaller lets a caller through again.
func (c *Client) UnblockCaller(ctx context.Context, tenant, number string, calls ...Call) error {
	_, err := do[struct{}](ctx, c, asTenant, request{method: http.MethodDelete, path: own(tenant, "blocked-callers", number), calls: calls})
	return err
}
