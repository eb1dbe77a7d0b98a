package store

import "context"

// A Share is what a node holds of a bound that all nodes keep together (quota), and
// what all others hold of it.
type Share struct{ Held, Others int }

// ShareReader reads what nodes hold.
type ShareReader interface {
	// Shares are those that a node holds, by bound.
	Shares(ctx context.Context, node string) (map[string]Share, error)
}

// ShareWriter changes what nodes hold. A node that starts, or that is found to be gone
// (LoseNode), holds nothing.
type ShareWriter interface {
	// LockBound gives the sum of what all nodes but one hold of a bound. Nobody changes
	// it before the end of the transaction.
	LockBound(ctx context.Context, bound, node string) (others int, err error)
	// SetShare writes what a node holds of a bound that is locked; with 0 it holds none.
	SetShare(ctx context.Context, bound, node string, held int) error
}
