package api_test

import (
	"context"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func TestTheOperatorSeesWhichNodesAreAlive(t *testing.T) {
	h := newHarness(t)
	h.admin("GET", "/v1/admin/nodes", "").want(200).exactly(`{"response":{"items":[],"next_cursor":""}}`)
	now := h.clock()
	err := h.store.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		for _, n := range []masking.Node{
			{ID: "node-b", StartedAt: now.Add(-time.Hour), SeenAt: now.Add(-time.Minute), GoneAt: now.Add(-50 * time.Second), Version: "v1"},
			{ID: "node-a", StartedAt: now.Add(-time.Hour), SeenAt: now, Version: "v1", Addresses: []string{"http://127.0.0.1:8080", "udp://127.0.0.1:5060"},
				Calls: 3, Draining: true},
		} {
			if _, err := tx.JoinNode(ctx, n, masking.Node{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	h.admin("GET", "/v1/admin/nodes", "").want(200).exactly(`{"response":{"items":[` +
		`{"node_id":"node-a","state":"draining","alive":true,"started_at":"2024-06-15T04:00:00Z","seen_at":"2024-06-15T05:00:00Z","version":"v1","addresses":["http://127.0.0.1:8080","udp://127.0.0.1:5060"],"calls":3,"draining":true},` +
		`{"node_id":"node-b","state":"silent","alive":false,"started_at":"2024-06-15T04:00:00Z","seen_at":"2024-06-15T04:59:00Z","gone_at":"2024-06-15T04:59:10Z","version":"v1","addresses":[],"calls":0,"draining":false}],"next_cursor":""}}`)
}
