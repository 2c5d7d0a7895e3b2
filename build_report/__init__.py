"""The build report: duration and result of every image build, compared with earlier builds."""
