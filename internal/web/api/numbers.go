package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tandem/internal/control"
	"tandem/internal/e164"
	"tandem/internal/masking"
)

// maxNumbers bounds one addition to a pool: as many as a body can hold.
const maxNumbers = 1000

// PoolNumber is a number of a pool.
type PoolNumber struct {
	Number            string          `json:"number" example:"+914000000001"`
	Sharing           masking.Sharing `json:"sharing" enum:"exclusive,shared"`
	Region            string          `json:"region"`
	Type              string          `json:"type"`
	ActiveAllocations int             `json:"active_allocations" doc:"about how many it carries; an expired one counts until its end is written"`
	RestedAt          string          `json:"rested_at,omitempty" format:"date-time" doc:"when it last gained or lost an allocation"`
	StrangerPolicy    *StrangerPolicy `json:"stranger_policy,omitempty" doc:"only if it differs from the tenant's"`
	PINs              int             `json:"pins,omitempty" doc:"how many PINs are live on it"`
	Health            *NumberHealth   `json:"health,omitempty" doc:"not in the answer to a change"`
	CreatedAt         string          `json:"created_at" format:"date-time"`
}

// NumberHealth says whether far networks let calls through that show a number.
type NumberHealth struct {
	Status masking.Health `json:"status" enum:"ok,degraded"`
	Since  string         `json:"since,omitempty" format:"date-time" doc:"if degraded"`
	Reason masking.Blame  `json:"reason,omitempty" enum:"forbidden,declined,unwanted,blocked" doc:"if degraded: how calls are refused most often, as 403, 603, 607 or 608"`
}

// NewNumberBody is a number to be added.
type NewNumberBody struct {
	Number  string  `json:"number" example:"+914000000001"`
	Sharing *string `json:"sharing,omitempty" enum:"exclusive,shared" doc:"default exclusive"`
	Region  *string `json:"region,omitempty" maxLength:"64"`
	Type    *string `json:"type,omitempty" maxLength:"64"`

	StrangerPolicy *StrangerPolicyBody `json:"stranger_policy,omitempty" doc:"default: the tenant's"`
}

// AddNumbersBody adds numbers, all or none.
type AddNumbersBody struct {
	Numbers []NewNumberBody `json:"numbers" minItems:"1" maxItems:"1000"`
}

// AddNumbersInput is the request of adding numbers.
type AddNumbersInput struct {
	TenantPath
	Keyed
	Body document[AddNumbersBody]
}

// ChangeNumberBody changes a number; omitted keeps its value.
type ChangeNumberBody struct {
	Sharing *string `json:"sharing,omitempty" enum:"exclusive,shared"`
	Region  *string `json:"region,omitempty" maxLength:"64"`
	Type    *string `json:"type,omitempty" maxLength:"64"`

	StrangerPolicy *StrangerPolicyBody `json:"stranger_policy,omitempty" doc:"replaced as a whole; tenant takes the tenant's again"`
}

// NumberPath names one number of a pool.
type NumberPath struct {
	TenantPath
	Number string `path:"number" doc:"E.164, the plus percent-encoded or not"`
}

// ChangeNumberInput is the request of changing a number.
type ChangeNumberInput struct {
	NumberPath
	Keyed
	Body document[ChangeNumberBody]
}

// RemoveNumberInput is the request of removing a number.
type RemoveNumberInput struct {
	NumberPath
	Keyed
}

// NumbersInput is the request of a list of numbers.
type NumbersInput struct {
	TenantPath
	Paged
}

// numberRoutes declares the operations on pools.
func (r *router) numberRoutes() {
	operation[NumbersInput, list[PoolNumber]](r, tenantOp("GET", "/numbers", "numbers-list", "List the pool"), r.ownNumbers)
	operation[AddNumbersInput, list[PoolNumber]](r, operatorOp("POST", "/tenants/{tenant_id}/numbers", "admin-numbers-add", "Add numbers to a pool, all or none"), r.addNumbers)
	operation[NumbersInput, list[PoolNumber]](r, operatorOp("GET", "/tenants/{tenant_id}/numbers", "admin-numbers-list", "List a pool"), r.numbersOf)
	operation[NumberPath, PoolNumber](r, operatorOp("GET", "/tenants/{tenant_id}/numbers/{number}", "admin-numbers-get", "Get a number"), r.number)
	operation[ChangeNumberInput, PoolNumber](r, operatorOp("PUT", "/tenants/{tenant_id}/numbers/{number}", "admin-numbers-change", "Change a number"), r.changeNumber)
	operation[RemoveNumberInput, Removed](r, operatorOp("DELETE", "/tenants/{tenant_id}/numbers/{number}", "admin-numbers-remove", "Take a number out of the pool"), r.removeNumber)
}

func poolNumber(zone *time.Location) func(masking.VirtualNumber) PoolNumber {
	return func(n masking.VirtualNumber) PoolNumber {
		v := PoolNumber{Number: n.Number.E164(), Sharing: n.Sharing, Region: n.Region, Type: n.Type,
			ActiveAllocations: n.Load, RestedAt: optionalStamp(n.RestedAt, zone), CreatedAt: masking.Stamp(n.CreatedAt, zone)}
		if n.Strangers.Action != "" {
			p := presentStrangers(n.Strangers)
			v.StrangerPolicy = &p
		}
		return v
	}
}

func occupied(zone *time.Location) func(control.Occupied) PoolNumber {
	return func(n control.Occupied) PoolNumber {
		v := poolNumber(zone)(n.VirtualNumber)
		v.PINs = n.PINs
		v.Health = &NumberHealth{Status: n.Health.Status(), Since: optionalStamp(n.Health.Since, zone), Reason: n.Health.Reason}
		return v
	}
}

func (s *server) ownNumbers(ctx context.Context, in *NumbersInput) (control.Answer, error) {
	return s.listNumbers(ctx, exchangeOf(ctx).tenant, in.Paged)
}

func (s *server) numbersOf(ctx context.Context, in *NumbersInput) (control.Answer, error) {
	t, err := s.tenantOf(ctx, in.TenantPath)
	if err != nil {
		return control.Answer{}, err
	}
	return s.listNumbers(ctx, t, in.Paged)
}

func (s *server) listNumbers(ctx context.Context, t masking.Tenant, in Paged) (control.Answer, error) {
	after, err := numberCursor(in.Cursor)
	if err != nil {
		return control.Answer{}, err
	}
	page, more, err := s.Plane.Numbers.List(ctx, t.ID, after, in.Limit)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, newList(page, occupied(t.Settings.Zone), more,
		func(n control.Occupied) string { return cursor(n.Number.E164()) })), nil
}

// numberCursor reads a cursor that stands for a number.
func numberCursor(text string) (string, error) {
	after, err := openCursor(text)
	if err == nil && after != "" {
		if _, err := control.ParseNumber("cursor", after); err != nil {
			return "", errCursor()
		}
	}
	return after, err
}

func (s *server) number(ctx context.Context, in *NumberPath) (control.Answer, error) {
	t, err := s.tenantOf(ctx, in.TenantPath)
	if err != nil {
		return control.Answer{}, err
	}
	n, err := numberPath(in.Number)
	if err != nil {
		return control.Answer{}, err
	}
	found, err := s.Plane.Numbers.Get(ctx, t.ID, n)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, occupied(t.Settings.Zone)(found)), nil
}

func (s *server) addNumbers(ctx context.Context, in *AddNumbersInput) (control.Answer, error) {
	t, err := s.tenantOf(ctx, in.TenantPath)
	if err != nil {
		return control.Answer{}, err
	}
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	if len(body.Numbers) == 0 || len(body.Numbers) > maxNumbers {
		return control.Answer{}, invalidField("numbers", fmt.Sprintf("numbers must hold 1 to %d numbers", maxNumbers))
	}
	numbers := make([]masking.VirtualNumber, len(body.Numbers))
	for i, b := range body.Numbers {
		if numbers[i], err = b.domain(fmt.Sprintf("numbers[%d]", i)); err != nil {
			return control.Answer{}, err
		}
	}
	present := func(added []masking.VirtualNumber) list[PoolNumber] {
		return newList(added, poolNumber(t.Settings.Zone), false, nil)
	}
	return s.Plane.Numbers.Add(ctx, t.ID, numbers, once(ctx, s, http.StatusCreated, present))
}

func (b NewNumberBody) domain(at string) (vn masking.VirtualNumber, err error) {
	if vn.Number, err = control.ParseNumber(at+".number", b.Number); err != nil {
		return vn, err
	}
	if vn.Sharing, err = parseSharing(at+".", b.Sharing); err != nil {
		return vn, err
	}
	if b.StrangerPolicy != nil {
		if vn.Strangers, err = b.StrangerPolicy.ofNumber(); err != nil {
			return vn, control.Within(err, at+".")
		}
	}
	vn.Region, vn.Type = value(b.Region), value(b.Type)
	return vn, checkLabels(at+".", vn.Region, vn.Type)
}

// parseSharing reads a sharing mode, and says of a wrong one where it stands.
func parseSharing(at string, text *string) (masking.Sharing, error) {
	sharing, err := masking.ParseSharing(value(text))
	var refused *masking.Error
	if errors.As(err, &refused) {
		return "", invalidField(at+refused.Field, at+refused.Message)
	}
	return sharing, err
}

// checkLabels bounds the operator's own words.
func checkLabels(at, region, typ string) error {
	if err := short(at+"region", region); err != nil {
		return err
	}
	return short(at+"type", typ)
}

func (s *server) changeNumber(ctx context.Context, in *ChangeNumberInput) (control.Answer, error) {
	t, err := s.tenantOf(ctx, in.TenantPath)
	if err != nil {
		return control.Answer{}, err
	}
	n, err := numberPath(in.Number)
	if err != nil {
		return control.Answer{}, err
	}
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	if _, err := parseSharing("", body.Sharing); err != nil {
		return control.Answer{}, err
	}
	if err := checkLabels("", value(body.Region), value(body.Type)); err != nil {
		return control.Answer{}, err
	}
	var strangers *masking.StrangerPolicy
	if body.StrangerPolicy != nil {
		policy, err := body.StrangerPolicy.ofNumber()
		if err != nil {
			return control.Answer{}, err
		}
		strangers = &policy
	}
	edit := func(vn masking.VirtualNumber) masking.VirtualNumber {
		set(&vn.Strangers, strangers)
		set(&vn.Region, body.Region)
		set(&vn.Type, body.Type)
		if sharing := value(body.Sharing); sharing != "" {
			vn.Sharing = masking.Sharing(sharing)
		}
		return vn
	}
	return s.Plane.Numbers.Update(ctx, t.ID, n, edit, once(ctx, s, http.StatusOK, poolNumber(t.Settings.Zone)))
}

func (s *server) removeNumber(ctx context.Context, in *RemoveNumberInput) (control.Answer, error) {
	id, err := in.tenant()
	if err != nil {
		return control.Answer{}, err
	}
	n, err := numberPath(in.Number)
	if err != nil {
		return control.Answer{}, err
	}
	return s.Plane.Numbers.Remove(ctx, id, n, once(ctx, s, http.StatusOK,
		func(n e164.Number) Removed { return Removed{ID: n.E164(), Status: "removed"} }))
}

// numberPath reads a number from a path.
func numberPath(text string) (e164.Number, error) { return control.ParseNumber("number", text) }
