package cli

import (
	"context"

	"github.com/spf13/cobra"

	"tandem/internal/client"
)

func (p *program) pinCommand() *cobra.Command {
	g := p.api("pin", "PINs: allocations that a caller opens by entering one (as the tenant)")
	p.pinReaders(g)
	p.pinWriters(g)
	return g.cmd
}

func (p *program) pinReaders(g *apiGroup) {
	var filter client.AllocationFilter
	var at *client.Page
	list := g.add(verb{use: "list", short: "List allocations, newest first, without their PINs", args: exactly(),
		columns: []string{"greenpin_id", "virtual_number", "from", "to", "status", "call_count", "expires_at"},
		run: func(ctx context.Context, s *session, _ []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				filter.Page = *at
				_, err = s.Pins(ctx, tenant, filter)
			}
			return err
		}})
	at = paging(list)
	list.Flags().StringVar(&filter.Status, "status", "", "active, expired or deleted")
	list.Flags().StringVar(&filter.VirtualNumber, "virtual-number", "", "only those on this number")
	list.Flags().StringVar(&filter.Party, "party", "", "only those with this number on either side")

	g.add(verb{use: "get GREENPIN_ID", short: "Show an allocation with its PIN", args: exactly("GREENPIN_ID"),
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.Pin(ctx, tenant, args[0])
			}
			return err
		}})
}

func (p *program) pinWriters(g *apiGroup) {
	p.pinCreate(g)
	p.pinUpdate(g)

	var terminate bool
	del := g.add(verb{use: "delete GREENPIN_ID", short: "End an allocation at once", args: exactly("GREENPIN_ID"),
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.DeletePin(ctx, tenant, args[0], terminate)
			}
			return err
		}})
	del.Flags().BoolVar(&terminate, "terminate-calls", false, "end calls that are connected too")

	var caller string
	unlock := g.add(verb{use: "unlock GREENPIN_ID", short: "Forget wrong PINs, so that who was locked out can try again", args: exactly("GREENPIN_ID"),
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.UnlockPin(ctx, tenant, args[0], caller)
			}
			return err
		}})
	unlock.Flags().StringVar(&caller, "caller", "", "only those of this number, also as a stranger (default: those of all parties)")
}

func (p *program) pinCreate(g *apiGroup) {
	var want client.NewPin
	cmd := g.add(verb{use: "create", short: "Lend a virtual number to two sides; prints the PIN that opens it", args: exactly(),
		example: "  tandem pin create --number +914000000001 --from +919900000001 --to +918800000002 --duration 3600",
		run: func(ctx context.Context, s *session, _ []string) error {
			tenant, err := s.asTenant()
			if err != nil {
				return err
			}
			for flag, value := range map[string]int64{"duration": want.Duration, "max-pin-attempts": want.MaxPINAttempts} {
				if s.cmd.Flags().Changed(flag) && value < 1 {
					return misusef(s.cmd, "--%s: at least 1", flag)
				}
			}
			_, err = s.CreatePin(ctx, tenant, want)
			return err
		}})
	flags := cmd.Flags()
	flags.StringVar(&want.CallerIDNumber, "number", "", "virtual number of the pool")
	flags.StringSliceVar(&want.From, "from", nil, "A-party number; may be repeated")
	flags.StringSliceVar(&want.To, "to", nil, "B-party number; may be repeated, or named later")
	flags.Int64Var(&want.Duration, "duration", 0, "seconds, at least 300 (default 86400)")
	flags.Int64Var(&want.MaxPINAttempts, "max-pin-attempts", 0, "wrong PINs that a party may enter, 1 to 10 (default 3)")
	flags.BoolVar(&want.Record, "record", false, "record calls")
	flags.StringVar(&want.CustomField, "custom-field", "", "text of your own, given back as it came")
}

func (p *program) pinUpdate(g *apiGroup) {
	var change client.PinChange
	var duration, attempts int64
	var record bool
	var custom string
	cmd := g.add(verb{use: "update GREENPIN_ID", short: "Change an allocation; what is not given stays", args: exactly("GREENPIN_ID"),
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				change.Duration, change.MaxPINAttempts = changed(s.cmd, "duration", &duration), changed(s.cmd, "max-pin-attempts", &attempts)
				change.Record, change.CustomField = changed(s.cmd, "record", &record), changed(s.cmd, "custom-field", &custom)
				_, err = s.UpdatePin(ctx, tenant, args[0], change)
			}
			return err
		}})
	flags := cmd.Flags()
	flags.StringSliceVar(&change.From, "from", nil, "replacement A-party number; may be repeated")
	flags.StringSliceVar(&change.To, "to", nil, "replacement B-party number; may be repeated")
	flags.Int64Var(&duration, "duration", 0, "seconds from now")
	flags.Int64Var(&attempts, "max-pin-attempts", 0, "wrong PINs that a party may enter")
	flags.BoolVar(&record, "record", false, "whether calls are recorded")
	flags.StringVar(&custom, "custom-field", "", "text of your own")
}
