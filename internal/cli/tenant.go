package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/internal/client"
)

func (p *program) allocationCommand() *cobra.Command {
	g := p.api("allocation", "Allocations: which two sides a virtual number connects (as the tenant)")
	p.allocationReaders(g)
	p.allocationWriters(g)
	return g.cmd
}

func (p *program) allocationReaders(g *apiGroup) {
	var filter client.AllocationFilter
	var at *client.Page
	list := g.add(verb{use: "list", short: "List allocations, newest first", args: exactly(),
		columns: []string{"greenvn_id", "virtual_number", "from", "to", "status", "call_count", "expires_at"},
		run: func(ctx context.Context, s *session, _ []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				filter.Page = *at
				_, err = s.Allocations(ctx, tenant, filter)
			}
			return err
		}})
	at = paging(list)
	list.Flags().StringVar(&filter.Status, "status", "", "active or deleted")
	list.Flags().StringVar(&filter.VirtualNumber, "virtual-number", "", "only those on this number")
	list.Flags().StringVar(&filter.Party, "party", "", "only those with this number on either side")

	g.add(verb{use: "get GREENVN_ID", short: "Show an allocation", args: exactly("GREENVN_ID"),
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.Allocation(ctx, tenant, args[0])
			}
			return err
		}})
}

func (p *program) allocationWriters(g *apiGroup) {
	p.allocationCreate(g)
	p.allocationUpdate(g)

	var sides client.Parties
	parties := g.add(verb{use: "parties GREENVN_ID", short: "Replace the numbers of one side or both", args: exactly("GREENVN_ID"),
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.UpdateParties(ctx, tenant, args[0], sides)
			}
			return err
		}})
	parties.Flags().StringSliceVar(&sides.From, "from", nil, "A-party number; may be repeated")
	parties.Flags().StringSliceVar(&sides.To, "to", nil, "B-party number; may be repeated")

	g.add(verb{use: "number GREENVN_ID NUMBER", short: "Move an allocation to another virtual number", args: exactly("GREENVN_ID", "NUMBER"),
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.UpdateNumber(ctx, tenant, args[0], args[1])
			}
			return err
		}})

	var terminate bool
	del := g.add(verb{use: "delete GREENVN_ID", short: "End an allocation at once (with only an admin token: as the operator)", args: exactly("GREENVN_ID"),
		run: func(ctx context.Context, s *session, args []string) error {
			if s.operates() && s.to.Token == "" {
				tenant, err := s.tenant()
				if err == nil {
					_, err = s.EndAllocation(ctx, tenant, args[0], terminate)
				}
				return err
			}
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.DeleteAllocation(ctx, tenant, args[0], terminate)
			}
			return err
		}})
	del.Flags().BoolVar(&terminate, "terminate-calls", false, "end calls that are connected too")
}

func (p *program) allocationCreate(g *apiGroup) {
	var want client.NewAllocation
	var prefer client.Preferences
	cmd := g.add(verb{use: "create", short: "Lend a virtual number to two sides", args: exactly(),
		example: "  tandem allocation create --number +914000000001 --from +919900000001 --to +918800000002 --duration 3600",
		run: func(ctx context.Context, s *session, _ []string) error {
			tenant, err := s.asTenant()
			if err != nil {
				return err
			}
			if s.cmd.Flags().Changed("duration") && want.Duration < 1 {
				return misusef(s.cmd, "--duration: at least 1")
			}
			if prefer != (client.Preferences{}) {
				want.Preferences = &prefer
			}
			_, err = s.CreateAllocation(ctx, tenant, want)
			return err
		}})
	flags := cmd.Flags()
	flags.StringVar(&want.CallerIDNumber, "number", "auto", "virtual number of the pool, or auto for the best one")
	flags.StringSliceVar(&want.From, "from", nil, "A-party number; may be repeated")
	flags.StringSliceVar(&want.To, "to", nil, "B-party number; may be repeated")
	flags.Int64Var(&want.Duration, "duration", 0, "seconds (default 86400)")
	flags.BoolVar(&want.Record, "record", false, "record calls")
	flags.StringVar(&want.CustomField, "custom-field", "", "text of your own, given back as it came")
	flags.StringVar(&want.Usage, "usage", "", "twoway (default), or oneway: only the A-party may call")
	flags.StringVar(&prefer.Region, "region", "", "with auto: region of the number")
	flags.StringVar(&prefer.Type, "type", "", "with auto: type of the number")
	flags.StringVar(&prefer.Strictness, "strictness", "", "with auto: preferred (default) or strict")
}

func (p *program) allocationUpdate(g *apiGroup) {
	var duration int64
	var record bool
	var custom string
	cmd := g.add(verb{use: "update GREENVN_ID", short: "Change duration, recording or the custom field", args: exactly("GREENVN_ID"),
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.PatchAllocation(ctx, tenant, args[0], client.Patch{Duration: changed(s.cmd, "duration", &duration),
					Record: changed(s.cmd, "record", &record), CustomField: changed(s.cmd, "custom-field", &custom)})
			}
			return err
		}})
	cmd.Flags().Int64Var(&duration, "duration", 0, "seconds from now")
	cmd.Flags().BoolVar(&record, "record", false, "whether calls are recorded")
	cmd.Flags().StringVar(&custom, "custom-field", "", "text of your own")
}

func (p *program) callsCommand() *cobra.Command {
	g := p.api("calls", "Calls that were made, and those that are up")
	var filter client.CallFilter
	var at *client.Page
	var allocation, since, until string
	var csv bool
	read := func(s *session) (tenant string, err error) {
		if tenant, err = s.asTenant(); err != nil {
			return "", err
		}
		filter.Page = *at
		if strings.HasPrefix(allocation, "gp_") {
			filter.GreenPinID = allocation
		} else {
			filter.GreenVNID = allocation
		}
		if filter.Since, err = s.time("since", since); err != nil {
			return "", err
		}
		filter.Until, err = s.time("until", until)
		return tenant, err
	}
	list := g.add(verb{use: "list", short: "List calls, newest first (as the tenant)", args: exactly(),
		example: "  tandem calls list --cause busy --since 2024-06-15T00:00:00+05:30\n  tandem calls list --csv > calls.csv",
		columns: []string{"call_sid", "greenvn", "vn", "from", "to", "status", "cause", "dial_call_duration", "on_call_duration", "start_time"},
		run: func(ctx context.Context, s *session, _ []string) error {
			tenant, err := read(s)
			if err == nil {
				_, err = s.Calls(ctx, tenant, filter)
			}
			return err
		}})
	page := list.RunE
	list.RunE = func(cmd *cobra.Command, args []string) error {
		if !csv {
			return page(cmd, args)
		}
		s, err := g.session(cmd)
		if err != nil {
			return err
		}
		tenant, err := read(s)
		if err != nil {
			return err
		}
		c, err := s.unhurried()
		if err != nil {
			return err
		}
		return explained(c.CallsCSV(cmd.Context(), tenant, filter, s.out))
	}
	at = paging(list)
	list.Flags().StringVar(&allocation, "allocation", "", "only those of this allocation")
	list.Flags().StringVar(&filter.Status, "status", "", "live or ended")
	list.Flags().StringVar(&filter.Cause, "cause", "", "only those that ended so, as busy")
	list.Flags().StringVar(&filter.Direction, "direction", "", "from_to or to_from")
	list.Flags().StringVar(&filter.VirtualNumber, "virtual-number", "", "only those to this number")
	list.Flags().StringVar(&filter.Party, "party", "", "only those that this number made, or in which it was rung last or answered")
	list.Flags().StringVar(&filter.Answered, "answered", "", "true or false")
	list.Flags().StringVar(&filter.Recorded, "recorded", "", "true or false: whether a recording was begun")
	list.Flags().BoolVar(&csv, "csv", false, "write all of them as CSV; --limit and --cursor do not matter")
	list.Flags().StringVar(&since, "since", "", "only those that started then or later (RFC 3339)")
	list.Flags().StringVar(&until, "until", "", "only those that started before (RFC 3339)")

	g.add(verb{use: "get CALL_SID", short: "Show a call and its legs (as the tenant)", args: exactly("CALL_SID"),
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.Call(ctx, tenant, args[0])
			}
			return err
		}})
	g.show()
	g.cmd.AddCommand(g.recordingCommand())
	var liveAt *client.Page
	live := g.add(verb{use: "live", short: "List the calls that are up, of all tenants, numbers hidden (operator)", args: exactly(),
		columns: []string{"call_sid", "tenant_id", "greenvn", "vn", "from", "to", "call_type", "start_time", "node"},
		run: func(ctx context.Context, s *session, _ []string) error {
			if err := s.asOperator(); err != nil {
				return err
			}
			_, err := s.LiveCalls(ctx, *liveAt)
			return err
		}})
	liveAt = paging(live)
	return g.cmd
}

// time reads a flag that holds a time; empty is none.
func (s *session) time(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, misusef(s.cmd, "--%s %q: wants a time as 2024-06-15T10:30:00+05:30", flag, text)
	}
	return t, nil
}
