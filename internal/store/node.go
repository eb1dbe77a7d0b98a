package store

import (
	"context"
	"time"

	"tandem/internal/masking"
)

// NodeReader reads which servers there are.
type NodeReader interface {
	// Nodes are all that are known, by id.
	Nodes(ctx context.Context) ([]masking.Node, error)
}

// NodeWriter writes signs of life. Each method changes a row only if it is as the
// caller knows it, and locks it to the end of the transaction if it is.
type NodeWriter interface {
	// JoinNode writes a node that starts, in place of last: its row as it was found,
	// zero if there was none. joined is false if there is another one by now.
	JoinNode(ctx context.Context, n, last masking.Node) (joined bool, err error)
	// BeatNode writes a sign of life of a run: all but when it started and its folder.
	// ours is false if the node has another run by now, back is true if others had
	// found it silent since the last sign.
	BeatNode(ctx context.Context, n masking.Node) (ours, back bool, err error)
	// HearNode writes a sign of life of a node that cannot write one itself and has told
	// another one that it lives. heard is false if there was another sign since n was
	// read, or the node is gone.
	HearNode(ctx context.Context, n masking.Node, at time.Time) (heard bool, err error)
	// LoseNode writes since when a node is not there, unless it is gone already. lost is
	// false if there was a sign of life since n was read.
	LoseNode(ctx context.Context, n masking.Node, at time.Time) (lost bool, err error)
	// ForgetNodes removes at most limit nodes without a sign of life since the given
	// time that have no calls without an end.
	ForgetNodes(ctx context.Context, before time.Time, limit int) (int, error)
}
