package store

import "context"

type urgentKey struct{}

// Urgent gives a context for an Update of a moment that must not wait until others have
// done with theirs, such as a sign of life. An engine whose updates do not wait for each
// other's connections need not heed it.
func Urgent(ctx context.Context) context.Context { return context.WithValue(ctx, urgentKey{}, true) }

// IsUrgent reports whether ctx is of Urgent.
func IsUrgent(ctx context.Context) bool { return ctx.Value(urgentKey{}) != nil }
