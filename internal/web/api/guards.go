package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/internal/control"
	"tandem/internal/e164"
	"tandem/internal/masking"
)

// GuardSettings bound what a stolen token, or a party with a plan of his own, can
// cost.
type GuardSettings struct {
	AllowedPrefixes  []string      `json:"allowed_prefixes" doc:"how a number must begin to be rung; empty: any"`
	MaxCallsPerDay   int64         `json:"max_allocation_calls_per_day" doc:"calls through one allocation in a day of the timezone; 0: any number"`
	MaxMinutesPerDay int64         `json:"max_allocation_minutes_per_day" doc:"minutes talked through one allocation in a day of the timezone; 0: any number"`
	VelocityAlarm    VelocityAlarm `json:"velocity_alarm"`
}

// VelocityAlarm tells of calls that come faster than they should.
type VelocityAlarm struct {
	Minutes         int64 `json:"minutes" doc:"how long calls are counted, from the first on"`
	CallerCalls     int64 `json:"caller_calls" doc:"calls of one caller that raise no alarm; 0: any number"`
	AllocationCalls int64 `json:"allocation_calls" doc:"calls through one allocation that raise no alarm; 0: any number"`
	TenantCalls     int64 `json:"tenant_calls" doc:"calls of the tenant that raise no alarm; 0: any number"`
	Block           bool  `json:"block" doc:"calls beyond are refused until the minutes are over"`
}

// GuardSettingsBody changes them; omitted keeps its value.
type GuardSettingsBody struct {
	AllowedPrefixes  *[]string          `json:"allowed_prefixes,omitempty" maxItems:"250" doc:"how a number must begin to be rung, with its plus; at first empty: any" example:"+91"`
	MaxCallsPerDay   *int64             `json:"max_allocation_calls_per_day,omitempty" minimum:"0" maximum:"1000000"`
	MaxMinutesPerDay *int64             `json:"max_allocation_minutes_per_day,omitempty" minimum:"0" maximum:"144000"`
	VelocityAlarm    *VelocityAlarmBody `json:"velocity_alarm,omitempty" doc:"omitted members keep their value"`
}

// VelocityAlarmBody changes an alarm; omitted keeps its value.
type VelocityAlarmBody struct {
	Minutes         *int64 `json:"minutes,omitempty" minimum:"1" maximum:"1440" doc:"at first 10"`
	CallerCalls     *int64 `json:"caller_calls,omitempty" minimum:"0" maximum:"1000000"`
	AllocationCalls *int64 `json:"allocation_calls,omitempty" minimum:"0" maximum:"1000000"`
	TenantCalls     *int64 `json:"tenant_calls,omitempty" minimum:"0" maximum:"1000000"`
	Block           *bool  `json:"block,omitempty"`
}

func presentGuards(g masking.Guards) GuardSettings {
	v := g.Velocity
	return GuardSettings{AllowedPrefixes: append([]string{}, g.Allowed...), MaxCallsPerDay: int64(g.DayCalls),
		MaxMinutesPerDay: int64(g.DayTalk / time.Minute),
		VelocityAlarm: VelocityAlarm{Minutes: int64(v.Window / time.Minute), CallerCalls: int64(v.Caller),
			AllocationCalls: int64(v.Allocation), TenantCalls: int64(v.Tenant), Block: v.Block}}
}

// adjust changes the guards that the body names.
func (b GuardSettingsBody) adjust(g *masking.Guards) error {
	setInt(&g.DayCalls, b.MaxCallsPerDay)
	setMinutes(&g.DayTalk, b.MaxMinutesPerDay)
	if v := b.VelocityAlarm; v != nil {
		setMinutes(&g.Velocity.Window, v.Minutes)
		setInt(&g.Velocity.Caller, v.CallerCalls)
		setInt(&g.Velocity.Allocation, v.AllocationCalls)
		setInt(&g.Velocity.Tenant, v.TenantCalls)
		set(&g.Velocity.Block, v.Block)
	}
	return setPrefixes(&g.Allowed, "allowed_prefixes", b.AllowedPrefixes)
}

func setPrefixes(to *masking.Prefixes, field string, given *[]string) (err error) {
	if given == nil {
		return nil
	}
	*to, err = masking.ParsePrefixes(field, *given)
	return err
}

func setMinutes(field *time.Duration, given *int64) {
	if given != nil {
		*field = time.Duration(max(min(*given, 1<<24), -1)) * time.Minute // no more than overflows, and out of range
	}
}

// BlockedCaller is somebody of whom nothing is let through.
type BlockedCaller struct {
	Number    string `json:"number" example:"+919900000001"`
	Note      string `json:"note"`
	CreatedAt string `json:"created_at" format:"date-time"`
}

// BlockBody blocks callers.
type BlockBody struct {
	Numbers []string `json:"numbers" minItems:"1" maxItems:"1000" doc:"E.164"`
	Note    *string  `json:"note,omitempty" maxLength:"64" doc:"your own words"`
}

// BlockedInput is the request of a list of blocked callers.
type BlockedInput struct {
	TenantPath
	Paged
}

// BlockInput is the request of blocking callers.
type BlockInput struct {
	TenantPath
	Keyed
	Body document[BlockBody]
}

// UnblockInput is the request of letting a caller through again.
type UnblockInput struct {
	NumberPath
	Keyed
}

// blockedCallers declares the operations on them.
func (r *router) blockedCallers() {
	op := func(method, path, id, summary string) huma.Operation {
		op := tenantOp(method, "/blocked-callers"+path, "blocked-callers-"+id, summary)
		op.Tags = []string{"Guards"}
		return op
	}
	operation[BlockedInput, list[BlockedCaller]](r, op("GET", "", "list", "List the callers who are let through nowhere"), r.listBlocked)
	operation[BlockInput, list[BlockedCaller]](r, op("POST", "", "add", "Let nothing of these callers through"), r.block)
	operation[UnblockInput, Removed](r, op("DELETE", "/{number}", "remove", "Let a caller through again"), r.unblock)
}

func presentBlocked(zone *time.Location) func(control.BlockedCaller) BlockedCaller {
	return func(b control.BlockedCaller) BlockedCaller {
		return BlockedCaller{Number: b.Number.E164(), Note: b.Note, CreatedAt: masking.Stamp(b.CreatedAt, zone)}
	}
}

func (s *server) listBlocked(ctx context.Context, in *BlockedInput) (control.Answer, error) {
	after, err := numberCursor(in.Cursor)
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	page, more, err := s.Plane.Blocked.List(ctx, t.ID, after, in.Limit)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, newList(page, presentBlocked(t.Settings.Zone), more,
		func(b control.BlockedCaller) string { return cursor(b.Number.E164()) })), nil
}

func (s *server) block(ctx context.Context, in *BlockInput) (control.Answer, error) {
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	if len(body.Numbers) == 0 || len(body.Numbers) > maxNumbers {
		return control.Answer{}, invalidField("numbers", fmt.Sprintf("numbers must hold 1 to %d numbers", maxNumbers))
	}
	if err := short("note", value(body.Note)); err != nil {
		return control.Answer{}, err
	}
	numbers, err := control.ParseParties("numbers", body.Numbers)
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	present := func(added []control.BlockedCaller) list[BlockedCaller] {
		return newList(added, presentBlocked(t.Settings.Zone), false, nil)
	}
	return s.Plane.Blocked.Add(ctx, t.ID, numbers, value(body.Note), once(ctx, s, http.StatusCreated, present))
}

func (s *server) unblock(ctx context.Context, in *UnblockInput) (control.Answer, error) {
	n, err := numberPath(in.Number)
	if err != nil {
		return control.Answer{}, err
	}
	return s.Plane.Blocked.Remove(ctx, exchangeOf(ctx).tenant.ID, n, once(ctx, s, http.StatusOK,
		func(n e164.Number) Removed { return Removed{ID: n.E164(), Status: "removed"} }))
}
