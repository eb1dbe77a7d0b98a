package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/internal/control"
	"tandem/internal/masking"
)

// Erasure is the receipt of a person's number's removal. It does not tell the number.
type Erasure struct {
	ErasureID  masking.ErasureID `json:"erasure_id"`
	Status     string            `json:"status" enum:"running,done"`
	Waiting    int               `json:"waiting,omitempty" doc:"records that cannot be erased yet: of calls that are up or just over, recordings under way or under legal hold; they are tried again every minute"`
	Removed    ErasureRemoved    `json:"removed"`
	Kept       []string          `json:"kept,omitempty" enum:"blocked_callers" doc:"where the number stays because you decided so: it is a blocked caller's until you let him through again"`
	CreatedAt  string            `json:"created_at" format:"date-time" doc:"what is covered is what there was then"`
	FinishedAt string            `json:"finished_at,omitempty" format:"date-time"`
}

// ErasureRemoved counts what was removed.
type ErasureRemoved struct {
	Allocations int `json:"allocations" doc:"ended ones that named the number"`
	Calls       int `json:"calls"`
	Events      int `json:"events"`
	Ladders     int `json:"ladders" doc:"removed whole"`
	Recordings  int `json:"recordings" doc:"deleted with their sound"`
	PINTries    int `json:"pin_tries" doc:"counts of wrong PINs"`
	Answers     int `json:"answers" doc:"kept for repeated requests"`
}

// ErasureBody asks for an erasure.
type ErasureBody struct {
	Number string `json:"number" doc:"E.164"`
	Force  bool   `json:"force,omitempty" doc:"end the active allocations that the number stands in; calls that are connected go on, and are waited for"`
}

// NewErasureInput is the request of an erasure.
type NewErasureInput struct {
	TenantPath
	Keyed
	Body document[ErasureBody]
}

// ErasureInput is the request of one erasure.
type ErasureInput struct {
	TenantPath
	ErasureID string `path:"erasure_id"`
}

// ErasuresInput is the request of a list of erasures.
type ErasuresInput struct {
	TenantPath
	Paged
	Number string `query:"number" doc:"the erasures of this number: was it erased, and when"`
}

// erasures declares the operations on erasures.
func (r *router) erasures() {
	op := func(method, path, id, summary string) huma.Operation {
		op := tenantOp(method, path, "erasures-"+id, summary)
		op.Tags = []string{"Erasures"}
		return op
	}
	operation[NewErasureInput, Erasure](r, op("POST", "/erasures", "create", "Erase a person's number from what is kept"), r.createErasure)
	operation[ErasuresInput, list[Erasure]](r, op("GET", "/erasures", "list", "List erasures, newest first"), r.listErasures)
	operation[ErasureInput, Erasure](r, op("GET", "/erasures/{erasure_id}", "get", "Get the receipt of an erasure"), r.getErasure)
}

func presentErasure(zone *time.Location) func(masking.Erasure) Erasure {
	return func(e masking.Erasure) Erasure {
		v := Erasure{ErasureID: e.ID, Status: "running", Waiting: e.Waiting, Removed: ErasureRemoved(e.Removed),
			CreatedAt: masking.Stamp(e.CreatedAt, zone), FinishedAt: optionalStamp(e.FinishedAt, zone)}
		if !e.FinishedAt.IsZero() {
			v.Status = "done"
		}
		if e.Blocked {
			v.Kept = []string{"blocked_callers"}
		}
		return v
	}
}

func (s *server) createErasure(ctx context.Context, in *NewErasureInput) (control.Answer, error) {
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	n, err := control.ParseNumber("number", body.Number)
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	return s.Plane.Erasures.Create(ctx, t, control.WantedErasure{Number: n, Force: body.Force},
		once(ctx, s, http.StatusCreated, presentErasure(t.Settings.Zone)))
}

func (s *server) getErasure(ctx context.Context, in *ErasureInput) (control.Answer, error) {
	id, err := parseID[masking.ErasureID](masking.PrefixErasure, in.ErasureID)
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	e, err := s.Plane.Erasures.Get(ctx, t.ID, id)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, presentErasure(t.Settings.Zone)(e)), nil
}

func (s *server) listErasures(ctx context.Context, in *ErasuresInput) (control.Answer, error) {
	q := control.ErasureQuery{Limit: in.Limit}
	var err error
	if q.Number, err = queryNumber("number", in.Number); err != nil {
		return control.Answer{}, err
	}
	if q.After, err = cursorID[masking.ErasureID](masking.PrefixErasure, in.Cursor); err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	page, more, err := s.Plane.Erasures.List(ctx, t.ID, q)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, newList(page, presentErasure(t.Settings.Zone), more,
		func(e masking.Erasure) string { return cursor(string(e.ID)) })), nil
}
