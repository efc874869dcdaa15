from sqlalchemy import text


def test_db(services):
    with services.session() as s:
        assert s.scalar(text("select count(*) from versions")) == 0
