package share

import (
	"context"

	cloudsoda "github.com/cloudsoda/go-smb2"
)

type cloudsodaSession struct{ *cloudsoda.Session }

func cloudsodaLogon(ctx context.Context, l *link, cred Credential) (logon, error) {
	user, domain := cred.account()
	d := cloudsoda.Dialer{
		MaxCreditBalance: maxCredits,
		Initiator:        &cloudsoda.NTLMInitiator{User: user, Domain: domain, Password: cred.Password},
	}
	s, err := d.DialConn(ctx, l, l.RemoteAddr().String())
	if err != nil {
		return nil, err
	}
	return cloudsodaSession{s}, nil
}

func (s cloudsodaSession) tree(ctx context.Context, unc string) (tree, error) {
	t, err := s.WithContext(ctx).Mount(unc)
	if err != nil {
		return nil, err
	}
	return cloudsodaTree{t.WithContext(ctx)}, nil
}

type cloudsodaTree struct{ *cloudsoda.Share }

func (t cloudsodaTree) openFile(path string, flag int) (remoteFile, error) {
	f, err := t.OpenFile(path, flag, 0o666)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (t cloudsodaTree) free(path string) (int64, error) {
	v, err := t.Statfs(path)
	if err != nil {
		return 0, err
	}
	return volumeBytes(v.AvailableBlockCount(), v.BlockSize()), nil
}
