package share

import (
	"context"

	hirochachacha "github.com/hirochachacha/go-smb2"
)

type hirochachachaSession struct{ *hirochachacha.Session }

func hirochachachaLogon(ctx context.Context, l *link, cred Credential) (logon, error) {
	user, domain := cred.account()
	d := hirochachacha.Dialer{
		MaxCreditBalance: maxCredits,
		Initiator:        &hirochachacha.NTLMInitiator{User: user, Domain: domain, Password: cred.Password},
	}
	s, err := d.DialContext(ctx, l)
	if err != nil {
		return nil, err
	}
	return hirochachachaSession{s}, nil
}

func (s hirochachachaSession) tree(ctx context.Context, unc string) (tree, error) {
	t, err := s.WithContext(ctx).Mount(unc)
	if err != nil {
		return nil, err
	}
	return hirochachachaTree{t.WithContext(ctx)}, nil
}

type hirochachachaTree struct{ *hirochachacha.Share }

func (t hirochachachaTree) openFile(path string, flag int) (remoteFile, error) {
	f, err := t.OpenFile(path, flag, 0o666)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (t hirochachachaTree) free(path string) (int64, error) {
	v, err := t.Statfs(path)
	if err != nil {
		return 0, err
	}
	// BlockSize is that of a sector here, and FragmentSize the sectors of a block.
	return volumeBytes(v.AvailableBlockCount(), v.BlockSize()*v.FragmentSize()), nil
}
