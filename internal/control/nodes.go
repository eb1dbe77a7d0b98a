package control

import (
	"context"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Nodes is what the operator sees of the servers on the database.
type Nodes struct{ *core }

// List reads all nodes that are known, by id, and the time at which they are judged.
func (s *Nodes) List(ctx context.Context) (nodes []masking.Node, now time.Time, err error) {
	err = s.view(ctx, "list nodes", func(ctx context.Context, tx store.Reader) error {
		nodes, err = tx.Nodes(ctx)
		return err
	})
	return nodes, s.now(), err
}
