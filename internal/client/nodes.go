package client

import (
	"context"
	"net/http"
)

// Node is a server on the database.
type Node struct {
	ID        string   `json:"node_id"` // as CallRecord.Node
	State     string   `json:"state"`   // up, draining, stopped or silent
	Alive     bool     `json:"alive"`
	StartedAt string   `json:"started_at"`
	SeenAt    string   `json:"seen_at"` // its last sign of life
	GoneAt    string   `json:"gone_at,omitempty"`
	Version   string   `json:"version"`
	Addresses []string `json:"addresses"`
	Calls     int64    `json:"calls"`
	Draining  bool     `json:"draining"`
}

// Nodes reads which servers there are, and have been within a week.
func (c *Client) Nodes(ctx context.Context) (List[Node], error) {
	return do[List[Node]](ctx, c, asOperator, request{method: http.MethodGet, path: admin("nodes")})
}
