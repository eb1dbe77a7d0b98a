package api

import (
	"context"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"tandem/internal/control"
	"tandem/internal/masking"
)

// AuditRecord is one entry of the audit log.
type AuditRecord struct {
	Sequence     int64            `json:"sequence" doc:"1 for the first of the whole log, without gaps; a tenant sees his own"`
	Time         string           `json:"time" format:"date-time"`
	Actor        string           `json:"actor" doc:"the id of a tenant's token, or operator"`
	TenantID     masking.TenantID `json:"tenant_id,omitempty" doc:"whose things it was about"`
	Action       string           `json:"action" doc:"the operationId"`
	Object       string           `json:"object,omitempty" doc:"what it was done to; numbers are hidden"`
	Outcome      string           `json:"outcome" doc:"done, or the code of the refusal"`
	RequestID    string           `json:"request_id,omitempty"`
	PreviousHash string           `json:"previous_hash" doc:"hash of the entry before, in hexadecimal"`
	Hash         string           `json:"hash" doc:"SHA-256 of all this (docs/adr/0024-audit-log.md)"`
}

// AuditHead tells which entry is the last.
type AuditHead struct {
	Sequence int64  `json:"sequence" doc:"0 while there is no entry"`
	Hash     string `json:"hash" doc:"to be kept elsewhere: it vouches for all entries up to this one"`
}

// AuditQuery narrows a list of entries.
type AuditQuery struct {
	Paged
	Action string `query:"action" doc:"an operationId"`
	Since  string `query:"since" doc:"entries of this time or later (RFC 3339)"`
	Until  string `query:"until" doc:"entries before this time (RFC 3339)"`
	Order  string `query:"order" enum:"newest,oldest" doc:"which come first" default:"newest"`
}

// AuditInput is the operator's request of a list of entries.
type AuditInput struct {
	AuditQuery
	TenantID string `query:"tenant_id" doc:"entries about this tenant"`
}

// OwnAuditInput is a tenant's request of a list of entries.
type OwnAuditInput struct {
	TenantPath
	AuditQuery
}

// auditRoutes declares the operations on the audit log. None changes it.
func (r *router) auditRoutes() {
	operation[AuditInput, list[AuditRecord]](r, operatorOp("GET", "/audit", "admin-audit-list", "List audit entries of all tenants"), r.audit)
	operation[struct{}, AuditHead](r, operatorOp("GET", "/audit/head", "admin-audit-head", "Get the last entry's hash, to be kept elsewhere"), r.auditHead)
	own := tenantOp("GET", "/audit", "audit-list", "List audit entries about this tenant")
	own.Tags = []string{"Audit"}
	operation[OwnAuditInput, list[AuditRecord]](r, own, r.ownAudit)
}

func (s *server) audit(ctx context.Context, in *AuditInput) (control.Answer, error) {
	return s.listAudit(ctx, masking.TenantID(in.TenantID), in.AuditQuery, time.UTC)
}

func (s *server) ownAudit(ctx context.Context, in *OwnAuditInput) (control.Answer, error) {
	t := exchangeOf(ctx).tenant
	return s.listAudit(ctx, t.ID, in.AuditQuery, t.Settings.Zone)
}

func (s *server) listAudit(ctx context.Context, of masking.TenantID, in AuditQuery, zone *time.Location) (control.Answer, error) {
	q := control.AuditQuery{Tenant: of, Action: in.Action, Oldest: in.Order == "oldest", Limit: in.Limit}
	var err error
	if q.Since, err = queryTime("since", in.Since); err != nil {
		return control.Answer{}, err
	}
	if q.Until, err = queryTime("until", in.Until); err != nil {
		return control.Answer{}, err
	}
	if q.After, err = eventCursor(in.Cursor); err != nil {
		return control.Answer{}, err
	}
	page, more, err := s.Plane.Audit.List(ctx, q)
	if err != nil {
		return control.Answer{}, err
	}
	at := func(e masking.AuditEntry) string { return cursor(eventPrefix + strconv.FormatInt(e.Sequence, 10)) }
	return render(http.StatusOK, newList(page, auditRecord(zone), more, at)), nil
}

func auditRecord(zone *time.Location) func(masking.AuditEntry) AuditRecord {
	return func(e masking.AuditEntry) AuditRecord {
		return AuditRecord{Sequence: e.Sequence, Time: masking.Stamp(e.At, zone), Actor: e.Actor, TenantID: e.Tenant, Action: e.Action,
			Object: e.Object, Outcome: e.Outcome, RequestID: e.Request,
			PreviousHash: hex.EncodeToString(e.Previous[:]), Hash: hex.EncodeToString(e.Hash[:])}
	}
}

func (s *server) auditHead(ctx context.Context, _ *struct{}) (control.Answer, error) {
	h, err := s.Plane.Audit.Head(ctx)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, AuditHead{Sequence: h.Sequence, Hash: hex.EncodeToString(h.Hash[:])}), nil
}
