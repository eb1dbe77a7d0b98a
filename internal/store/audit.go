package store

import (
	"context"
	"time"

	"tandem/internal/masking"
)

// AuditFilter narrows a list of audit entries; zero fields do not.
type AuditFilter struct {
	Tenant masking.TenantID
	Action string
	Since  time.Time
	Until  time.Time
	After  int64 // the page after this entry
	Oldest bool  // oldest first; else newest first
	Limit  int
}

// AuditReader reads the audit log.
type AuditReader interface {
	Audit(ctx context.Context, f AuditFilter) ([]masking.AuditEntry, error)
	// AuditHead is the last entry; zero if there is none.
	AuditHead(ctx context.Context) (masking.AuditHead, error)
}

// AuditWriter writes the audit log. Nothing changes or removes an entry.
type AuditWriter interface {
	// AppendAudit writes the entry that follows the last one (see
	// [masking.AuditEntry.Following]). Of two transactions that append, the second
	// waits for the end of the first.
	AppendAudit(ctx context.Context, e masking.AuditEntry) error
}
